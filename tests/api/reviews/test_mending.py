"""What a human is asked when a job fails from a cause that somebody can mend."""

import pytest

from aft_api.reviews.mending import Failed, write_mending
from aft_contracts import Approve, OnDeadline, Option, Problem, Review, ReviewStatus, RunSpec, Stop
from tests.api.conftest import spec_json
from tests.api.reviews.examples import NOW

FULL = Problem(title="t", status=507, code="checkpoint_not_written", detail="No space left on device.")
FAILED = Failed(run_id="r", job="Window 3", job_id="r:0:3", step=30, attempts=10, problem=FULL)
REVIEW = "r:0:3:10:review"


def test_the_question_says_what_is_safe_and_offers_to_go_on_or_to_stop() -> None:
    spec = RunSpec.model_validate(spec_json(reviews={"deadline_s": None, "answered_by": ["ann"]}))
    assert write_mending(FAILED, spec, now=NOW, created_at=NOW) == Review(
        review_id=REVIEW,
        run_id="r",
        question="Window 3 failed 10 times, last with checkpoint_not_written: No space left on device. "
        "All up to step 30 is safe. Mend the cause and go on, or stop the run.",
        proposal=None,
        options=(
            Option(
                name="go_on",
                command=Approve(review_id=REVIEW),
                effect="Tries again from step 30, the same way; mend the cause first.",
            ),
            Option(
                name="stop",
                command=Stop(review_id=REVIEW),
                effect="Ends the run at step 30; what was trained is kept, and exported if that is possible.",
            ),
        ),
        recommended="go_on",
        answered_by=("ann",),
        status=ReviewStatus.OPEN,
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("policy", "becomes"),
    [("hold", OnDeadline.HOLD), ("apply", OnDeadline.HOLD), ("go_on", OnDeadline.GO_ON), ("stop", OnDeadline.STOP)],
)
def test_the_deadline_takes_what_is_offered(policy: str, becomes: OnDeadline) -> None:
    spec = RunSpec.model_validate(spec_json(reviews={"deadline_s": 60, "on_deadline": policy}))
    assert write_mending(FAILED, spec, now=NOW, created_at=NOW).on_deadline is becomes
