"""The folder that tells a run without aft: whatever is wrong with it, the store has it all."""

import asyncio
import json
from pathlib import Path
from typing import Any, TextIO

import pytest

from aft_api import artifacts
from aft_api.artifacts import TAIL_BYTES, Artifacts
from tests.api.conftest import Api

pytestmark = pytest.mark.anyio
POISON = "s121"
"""Drawn at step 30."""


@pytest.fixture
async def run_id(local_api: Api) -> str:
    run_id = await local_api.start()
    await local_api.until(run_id, "succeeded")
    return run_id


@pytest.fixture
def written(local_api: Api, tmp_path: Path) -> Artifacts:
    """The same store, written to another folder."""
    return Artifacts(local_api.app.state.store, tmp_path / "written")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


async def test_a_report_says_what_became_of_its_repair(local_api: Api, tmp_path: Path) -> None:
    local_api.worker.poison = {POISON}
    run_id = await local_api.start(optim={"steps": 120, "batch_size": 4})
    await local_api.until(run_id, "succeeded")
    [_] = await local_api.events(run_id, "repair_proven")
    folder = tmp_path / "artifacts" / run_id
    told = await local_api.events(run_id)
    async with asyncio.timeout(10):
        while lines_of(folder) != told:
            await asyncio.sleep(0.05)
    [report] = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert report["repair_state"] == "proven"
    assert json.loads((folder / "diagnoses" / "000.json").read_text()) == report


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param('{"seq": 99, "ki', id="half a line"),
        pytest.param("\0\0\0\0\n", id="a line that a power cut left"),
        pytest.param('[]\n{"other": 1}\n"x"\n{"seq": null}\n', id="lines of something else"),
        pytest.param("x" * 2 * TAIL_BYTES + "\n", id="a line that is longer than what is looked at"),
    ],
)
async def test_what_is_no_event_is_taken_away_and_what_is_missing_is_written(
    local_api: Api, written: Artifacts, tmp_path: Path, run_id: str, behind: str
) -> None:
    folder = tmp_path / "written" / run_id
    folder.mkdir(parents=True)
    told = await local_api.events(run_id)
    some = "".join(json.dumps(event) + "\n" for event in told[:3])
    (folder / "events.jsonl").write_text(some + behind)
    await written.write(run_id)
    assert lines_of(folder) == told


async def test_a_write_that_is_cut_off_leaves_nothing_wrong_behind(
    local_api: Api, written: Artifacts, tmp_path: Path, run_id: str, full: None
) -> None:
    with pytest.raises(OSError, match="No space"):
        await written.write(run_id)
    folder = tmp_path / "written" / run_id
    assert not (folder / "events.jsonl").read_text().endswith("\n"), "half a line"
    await written.write(run_id)
    assert lines_of(folder) == await local_api.events(run_id)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half of the first events that are written."""
    opened, is_full = artifacts._opened, True

    class Full:
        def __init__(self, file: TextIO) -> None:
            self._file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, text: str) -> None:
            nonlocal is_full
            is_full = False
            self._file.write(text[: len(text) // 2])
            raise OSError(28, "No space left on device")

    def open_full(path: Path, mode: str) -> Any:
        file = opened(path, mode)
        is_ours = path.name == "events.jsonl" and "written" in path.parts  # the API may still write its own
        return Full(file) if is_full and is_ours else file

    monkeypatch.setattr(artifacts, "_opened", open_full)
