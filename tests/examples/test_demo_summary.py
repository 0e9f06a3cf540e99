"""The demo's summary: what was found, what was missed, who was accused wrongly, and what each poisoned row did."""

import io

import pytest
from rich.console import Console

from aft_contracts import (
    CheckpointRef,
    DomainScore,
    Evaluated,
    JobStatus,
    MetricsWindow,
    RunStatus,
    SampleRecord,
    Schedule,
    StepRecord,
    WindowResult,
    WindowView,
    Withheld,
)
from examples.demo.dataset import PoisonedRow
from examples.demo.poison import PoisonKind
from examples.demo.summary import Outcome, print_summary
from tests.cli.scripted_api import run_view

KEY = tuple(
    PoisonedRow(row_id=row_id, kind=PoisonKind.GARBAGE, domain="chat", step=step)
    for step, row_id in enumerate(["undone", "refused", "kept", "unseen"])
)


def _step(step: int, row_id: str, withheld: Withheld | None = None) -> StepRecord:
    sample = SampleRecord(sample_id=row_id, domain="chat", loss=13.0, grad_norm=1.0, tokens=9)
    return StepRecord(
        step=step,
        loss=5.0,
        grad_norm=1.0,
        lr=1e-4,
        clip_norm=1.0,
        tokens=9,
        applied=withheld is None,
        withheld=withheld,
        seconds=1.0,
        samples=(sample,),
    )


def _window(generation: int, *steps: StepRecord) -> WindowView:
    window_id = f"r1:{generation}:{generation}"
    result = WindowResult(
        window_id=window_id,
        start_step=steps[0].step,
        end_step=steps[-1].step + 1,
        metrics=MetricsWindow(window_id=window_id, steps=steps),
        checkpoint=CheckpointRef(generation=generation, step=steps[-1].step + 1, uri="file:///c", manifest_digest=""),
        state_digest="",
    )
    return WindowView(
        window_id=window_id,
        run_id="r1",
        generation=generation,
        index=generation,
        start_step=steps[0].step,
        num_steps=len(steps),
        status=JobStatus.COMMITTED,
        result=result,
    )


@pytest.fixture
def outcome() -> Outcome:
    """A run that undid one row, refused one, kept one, never met one, and took out one that was sound."""
    schedule = Schedule().rolled_back(0).with_blacklisted(["undone", "refused", "sound"], step=0, cause="d1")
    scores = [
        Evaluated(step=step, scores={"chat": DomainScore(loss=loss, tokens=9)}) for step, loss in ((0, 4.0), (4, 3.5))
    ]
    return Outcome(
        run=run_view("r1", status=RunStatus.SUCCEEDED, schedule=schedule, evaluations=tuple(scores)),
        answer_key=KEY,
        windows=[
            _window(0, _step(0, "undone")),
            _window(1, _step(1, "refused", Withheld.LOSS), _step(2, "kept")),
        ],
        reviews=[],
        repairs=["step 1: Blacklisted."],
        wall_s=61.4,
    )


def test_rows_are_sorted_into_found_missed_and_innocent(outcome: Outcome) -> None:
    assert outcome.blacklisted == {"undone", "refused", "sound"}
    assert outcome.missed == ("kept", "unseen")
    assert outcome.innocent == ("sound",)


@pytest.mark.parametrize(
    ("row_id", "fate"),
    [
        ("undone", "step 0: applied, then rolled back"),
        ("refused", "step 1: update withheld (loss)"),
        ("kept", "step 2: applied"),
        ("unseen", "never drawn"),
    ],
)
def test_fate_of_a_row_is_told(outcome: Outcome, row_id: str, fate: str) -> None:
    assert outcome.met(row_id) == fate


def test_summary_tells_it_all(outcome: Outcome) -> None:
    console = Console(file=io.StringIO(), width=160)
    print_summary(outcome, console)
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    for words in (
        "2 of 4 poisoned rows",
        "kept, unseen",
        "sound",
        "Blacklisted.",
        "4.0000 before, 3.5000 after",
        "61 s",
    ):
        assert words in told
