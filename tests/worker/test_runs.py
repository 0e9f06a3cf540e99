"""Runs: what is held may change while somebody looks."""

from dataclasses import dataclass
from pathlib import Path

from aft_contracts import LoadedRun, LoadStatus
from aft_worker.runs import HeldRun, Runs
from aft_worker.training_thread import TrainingThread


@dataclass
class Meeting:
    """A held run that is looked at just when another one is taken up."""

    runs: Runs

    @property
    def view(self) -> LoadedRun:
        self.runs._held["new"] = held("new")
        return held("old").view


def held(run_id: str) -> HeldRun:
    view = LoadedRun(run_id=run_id, status=LoadStatus.LOADING, spec_hash="0" * 64)
    return HeldRun(view=view, fence_token=1)


def test_run_may_be_taken_up_while_those_that_are_held_are_listed(tmp_path: Path) -> None:
    runs = Runs(tmp_path, slots=2, thread=TrainingThread(), changed=lambda run_id, status: None)
    runs._held["old"] = Meeting(runs)  # type: ignore[assignment]
    assert runs.run_ids == ("old",)
    assert runs.run_ids == ("new", "old")
