"""`aft checkpoints`: what it prints, and when it exits with 1."""

import json
from pathlib import Path

import pytest

from aft_contracts import CheckpointView
from aft_worker.checkpoint.manifest import write_manifest
from tests.cli.conftest import Aft
from tests.cli.scripted_api import AT, ScriptedApi

GOOD = CheckpointView(generation=0, step=10, committed=True, size_bytes=2_500_000, written_at=AT, verified=True)
UNFINISHED = GOOD.model_copy(update={"step": 30, "committed": False, "verified": None})
DAMAGED = GOOD.model_copy(update={"step": 20, "verified": False, "damage": "state/d/77 differs from the manifest."})


def test_list_shows_every_checkpoint(api: ScriptedApi, aft: Aft) -> None:
    assert "No checkpoint so far." in aft("checkpoints", "list", "r1").stdout
    api.checkpoints = [GOOD, DAMAGED, UNFINISHED]
    result = aft("checkpoints", "list", "r1")
    assert result.exit_code == 0
    lines = [line.split()[:5] for line in result.stdout.splitlines()[1:]]
    assert lines == [
        ["0", "10", "committed", "2.5", "MB"],
        ["0", "20", "committed", "2.5", "MB"],
        ["0", "30", "unfinished", "2.5", "MB"],
    ]


@pytest.mark.parametrize(
    ("found", "exit_code", "words"),
    [([GOOD, UNFINISHED], 0, ["verified", "unfinished"]), ([GOOD, DAMAGED], 1, ["damaged", "state/d/77 differs"])],
    ids=["intact", "damaged"],
)
def test_verify_exits_1_when_one_is_damaged(
    api: ScriptedApi, aft: Aft, found: list[CheckpointView], exit_code: int, words: list[str]
) -> None:
    api.checkpoints = found
    result = aft("checkpoints", "verify", "r1")
    assert result.exit_code == exit_code
    for word in words:
        assert word in result.stdout
    as_json = aft("checkpoints", "verify", "r1", "--json")
    assert as_json.exit_code == exit_code
    assert json.loads(as_json.stdout) == [one.model_dump(mode="json") for one in found]


def test_an_unknown_run_is_a_problem(aft: Aft) -> None:
    result = aft("checkpoints", "verify", "nobody")
    assert result.exit_code == 1
    assert "run_not_found" in result.stderr


def test_a_folder_is_verified_without_any_service(api: ScriptedApi, aft: Aft, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run/checkpoints/0/10"
    checkpoint.mkdir(parents=True)
    (checkpoint / "array").write_bytes(bytes(100))
    write_manifest(checkpoint, generation=0, step=10, state_digest="0" * 64)
    good = aft("checkpoints", "verify", "--path", str(tmp_path / "run"))
    assert (good.exit_code, "verified" in good.stdout) == (0, True)
    (checkpoint / "array").write_bytes(bytes(99) + b"\1")
    bad = aft("checkpoints", "verify", "--path", str(tmp_path / "run"))
    assert (bad.exit_code, "array differs from the manifest" in " ".join(bad.stdout.split())) == (1, True)
    assert api.headers == []


def test_a_folder_without_checkpoints_is_a_problem(aft: Aft, tmp_path: Path) -> None:
    result = aft("checkpoints", "verify", "--path", str(tmp_path))
    assert result.exit_code == 1
    assert "no_checkpoints" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["r1", "--path", "."]], ids=["neither", "both"])
def test_verify_wants_a_run_or_a_folder(aft: Aft, arguments: list[str]) -> None:
    result = aft("checkpoints", "verify", *arguments)
    assert result.exit_code == 1
    assert "run_or_path" in result.stderr
