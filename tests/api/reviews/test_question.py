"""What a human is told and offered."""

from datetime import timedelta

import pytest

from aft_contracts import Approve, Edit, OnDeadline, Reject, Stop
from tests.api.reviews.examples import NOW, ROLL_BACK, question

REVIEW = "r:0:1:d:review"


def test_options_are_commands_with_their_effects_and_the_first_is_recommended() -> None:
    review = question()
    gentler = ROLL_BACK.model_copy(update={"lr_factor": 0.5, "rewarmup_steps": 8})
    back = "1 row(s) are never loaded again; the run goes back from step 20 to step 10 and trains 10 step(s) again"
    assert {option.name: (option.command, option.effect) for option in review.options} == {
        "apply": (Approve(review_id=REVIEW), f"{back}."),
        "gentler": (
            Edit(review_id=REVIEW, repair=gentler),
            f"{back}; the learning rate is 0.5 times what it was; it climbs over 8 steps.",
        ),
        "go_on": (
            Reject(review_id=REVIEW),
            "Changes nothing and trains on from step 20. What bad steps left in the weights stays there.",
        ),
        "stop": (Stop(review_id=REVIEW), "Ends the run at step 20; what was trained is kept and exported."),
    }
    assert review.recommended == "apply"


def test_without_a_proposal_there_is_nothing_to_apply() -> None:
    review = question(proposal=None, on_deadline="apply")
    assert [option.name for option in review.options] == ["go_on", "stop"]
    assert (review.recommended, review.on_deadline) == ("go_on", OnDeadline.HOLD)


@pytest.mark.parametrize(
    ("policy", "deadline_s", "on_deadline"),
    [
        ({}, 86_400, OnDeadline.HOLD),
        ({"deadline_s": 60, "on_deadline": "go_on"}, 60, OnDeadline.GO_ON),
        ({"deadline_s": 60, "on_deadline": "apply"}, 60, OnDeadline.APPLY),
        ({"deadline_s": None, "on_deadline": "stop"}, None, OnDeadline.STOP),
    ],
)
def test_deadline_counts_from_the_databases_clock(
    policy: dict[str, object], deadline_s: float | None, on_deadline: OnDeadline
) -> None:
    now = NOW + timedelta(hours=5)
    review = question(now=now, **policy)
    expected = None if deadline_s is None else now + timedelta(seconds=deadline_s)
    assert (review.deadline_at, review.on_deadline, review.created_at) == (expected, on_deadline, NOW)


def test_evidence_holds_ids_and_figures() -> None:
    evidence = question().evidence
    assert evidence is not None
    assert (evidence.step, evidence.verdict, evidence.culprits) == (20, "data", ("s54",))
    assert [(figures.name, figures.masked, figures.step, figures.loss) for figures in evidence.replays] == [
        ("as_it_was", 0, 13, 9.0),
        ("without_suspects", 1, 13, 2.0),
    ]
    assert [point.step for point in evidence.losses] == list(range(20))
    assert [point.loss for point in evidence.losses if point.loss > 2] == [9.0]
