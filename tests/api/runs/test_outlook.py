"""What whoever gives a command is told of when it takes effect."""

import pytest

from aft_api.runs.outlook import Progress, outlook
from aft_contracts import Approve, Resume, RunStatus


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (RunStatus.WAITING, "accepted: the review is decided, and the run goes on at step 7 with that"),
        (RunStatus.PAUSED, "accepted: the review is decided, and the run holds at step 7 until it is resumed"),
    ],
)
def test_an_answer_does_not_wake_a_run_that_is_paused(status: RunStatus, told: str) -> None:
    for answer in (Approve(review_id="v"), Resume(review_id="v")):
        assert outlook(answer, Progress(status=status, step=7, in_window=False)) == told


def test_a_run_that_is_resumed_goes_on() -> None:
    assert outlook(Resume(), Progress(status=RunStatus.PAUSED, step=7, in_window=False)) == (
        "accepted: the run goes on at step 7"
    )
