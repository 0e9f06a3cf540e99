"""What is shown while a run is watched."""

import io
import math

import pytest
from rich.console import Console

from aft_cli.live_view import show
from aft_cli.review_panel import repair_words
from aft_cli.run_watch import RunPicture
from aft_cli.sparkline import sparkline
from aft_contracts import (
    Event,
    EventKind,
    Repair,
    RepairKind,
    Review,
    ReviewStatus,
    RunStatus,
    StepRecord,
    Withheld,
)
from tests.cli.scripted_api import AT, run_view


def _picture() -> RunPicture:
    steps = (
        StepRecord(step=0, loss=2.5, grad_norm=1.5, lr=1e-4, clip_norm=1.0, tokens=8, applied=True, seconds=0.1),
        StepRecord(
            step=1,
            loss=math.nan,
            grad_norm=math.inf,
            lr=2e-4,
            clip_norm=1.0,
            tokens=8,
            applied=False,
            withheld=Withheld.NON_FINITE,
            seconds=0.1,
        ),
    )
    event = Event(seq=1, run_id="r1", at=AT, kind=EventKind.ANOMALY_DETECTED, step=1, message="[row-7] is off")
    review = Review(
        review_id="v1",
        run_id="r1",
        question="Roll back?",
        proposal=Repair(kind=RepairKind.ROLLBACK, rollback_to_step=0, reasons=("Because [so].",)),
        status=ReviewStatus.OPEN,
        created_at=AT,
    )
    run = run_view("r1", status=RunStatus.WAITING, review_id="v1", step=0)
    return RunPicture(run=run, steps=steps, events=(event,), review=review, new_steps=steps, new_events=(event,))


def _shown(console: Console) -> str:
    picture = _picture()
    assert [passed_on is picture for passed_on in show([picture], console)] == [True]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_gets_a_screen_with_figures_events_and_the_question() -> None:
    shown = _shown(Console(file=io.StringIO(), force_terminal=True, width=140, height=50, color_system=None))
    for words in (
        "2/100",
        "waiting",
        "nan nats/token",
        "1 updates withheld",
        "[row-7] is off",
        "aft review approve v1",
    ):
        assert words in shown
    assert "▁✗" in shown


def test_pipe_gets_a_line_for_each_step_and_event() -> None:
    lines = _shown(Console(file=io.StringIO(), width=40)).splitlines()
    assert len(lines) == 3
    assert "step     0" in lines[0]
    assert lines[0].endswith("applied")
    assert lines[1].endswith("withheld: non_finite")
    assert lines[2].endswith("step 1: [row-7] is off")


@pytest.mark.parametrize(
    ("values", "blocks"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([0.0, 1.0, 0.5], "▁█▄"),
        ([0.0, math.nan, 1.0, math.inf], "▁✗█✗"),
        ([math.nan], "✗"),
    ],
)
def test_sparkline_shows_how_a_figure_went(values: list[float], blocks: str) -> None:
    assert sparkline(values) == blocks


def test_sparkline_keeps_to_its_width() -> None:
    assert sparkline([9.0, 0.0, 1.0], width=2) == "▁█"


@pytest.mark.parametrize(
    ("repair", "words"),
    [
        (None, "go on"),
        (Repair(kind=RepairKind.CONTINUE, reasons=()), "continue"),
        (Repair(kind=RepairKind.BLACKLIST, blacklist=("a", "b"), reasons=()), "blacklist a, b"),
        (
            Repair(kind=RepairKind.ROLLBACK, rollback_to_step=0, lr_factor=0.5, clip_norm=0.5, reasons=()),
            "roll back to step 0; learning rate x 0.5; clip norm 0.5",
        ),
    ],
)
def test_repair_is_said_in_words(repair: Repair | None, words: str) -> None:
    assert repair_words(repair) == words
