"""What an operator is told of checkpoints on disk."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aft_worker.checkpoint.inspection import look_at
from aft_worker.checkpoint.manifest import MANIFEST_NAME, write_manifest
from tests.worker.conftest import make_unreadable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two generations of small checkpoints, one of them unfinished, and what a crash left of another."""
    for generation, step in [(0, 0), (0, 10), (0, 9), (1, 12)]:
        files = tmp_path / str(generation) / str(step) / "state"
        files.mkdir(parents=True)
        (files / "array").write_bytes(bytes(1000))
        if step != 12:
            write_manifest(files.parent, generation=generation, step=step, state_digest="0" * 64)
    (tmp_path / "1/14.orbax-checkpoint-tmp").mkdir()
    return tmp_path


def test_checkpoints_are_listed_in_order_with_size_and_time(folder: Path) -> None:
    views = look_at(folder, verify=False)
    places = [(view.generation, view.step, view.committed, view.verified) for view in views]
    assert places == [(0, 0, True, None), (0, 9, True, None), (0, 10, True, None), (1, 12, False, None)]
    assert views[3].size_bytes == 1000
    assert views[0].size_bytes == 1000 + (folder / "0/0" / MANIFEST_NAME).stat().st_size
    assert all(timedelta(0) <= datetime.now(UTC) - view.written_at < timedelta(minutes=5) for view in views)


def test_intact_checkpoints_are_verified_and_unfinished_ones_are_no_damage(folder: Path) -> None:
    views = look_at(folder, verify=True)
    assert [(view.verified, view.damage) for view in views] == [(True, None)] * 3 + [(None, None)]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "state/array").write_bytes(bytes(999) + b"\1"), "state/array differs"),
        (lambda place: (place / "state/array").write_bytes(bytes(500)), "state/array differs"),
        (lambda place: (place / "state/array").unlink(), "state/array is missing"),
        (lambda place: (place / MANIFEST_NAME).write_text("{"), "cannot be read"),
        (lambda place: make_unreadable(place / MANIFEST_NAME), "cannot be read ([Errno 5]"),
        (lambda place: _claim_step(place / MANIFEST_NAME, 8), "holds the checkpoint of step 8"),
    ],
    ids=["flipped", "cut", "missing", "garbled", "unreadable", "misplaced"],
)
def test_damage_is_told_in_words(folder: Path, spoil: object, words: str) -> None:
    spoil(folder / "0/10")  # type: ignore[operator]
    views = look_at(folder, verify=True)
    assert [view.verified for view in views] == [True, True, False, None]
    assert words in views[2].damage


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert look_at(tmp_path / "nothing", verify=True) == ()


def _claim_step(manifest: Path, step: int) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"step": step}))
