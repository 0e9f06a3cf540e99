"""`aft review`: what is shown, and what each answer sends."""

from datetime import timedelta
from typing import Any

import pytest

from aft_contracts import (
    Anomaly,
    AnomalyKind,
    Approve,
    Edit,
    Evidence,
    LossPoint,
    OnDeadline,
    Option,
    Reject,
    Repair,
    RepairKind,
    ReplayFigures,
    Review,
    ReviewStatus,
    RunStatus,
    Stop,
    Verdict,
)
from tests.cli.conftest import Aft
from tests.cli.scripted_api import AT, ScriptedApi

PROPOSAL = Repair(kind=RepairKind.ROLLBACK, rollback_to_step=8, blacklist=("row-7",), reasons=("It was applied.",))
GENTLER = PROPOSAL.model_copy(update={"lr_factor": 0.5})


def evidence() -> Evidence:
    """Step 13 was out."""
    anomaly = Anomaly(kind=AnomalyKind.LOSS_SPIKE, step=13, value=9.0, score=20.0, threshold=6.0, applied=True)
    return Evidence(
        step=20,
        verdict=Verdict.DATA,
        anomalies=(anomaly,),
        anomaly_count=3,
        culprits=("row-7",),
        replays=(ReplayFigures(name="as_it_was", masked=0, step=13, loss=9.0, grad_norm=8.0),),
        losses=tuple(LossPoint(step=step, loss=9.0 if step == 13 else 2.0, applied=True) for step in range(20)),
    )


def review(review_id: str = "v1", **changes: Any) -> Review:
    """A question with everything to it."""
    given: dict[str, Any] = {
        "evidence": evidence(),
        "options": (
            Option(name="apply", command=Approve(review_id=review_id), effect="Goes back."),
            Option(name="gentler", command=Edit(review_id=review_id, repair=GENTLER), effect="Goes back, gently."),
            Option(name="go_on", command=Reject(review_id=review_id), effect="Changes nothing."),
            Option(name="stop", command=Stop(review_id=review_id), effect="Ends the run."),
        ),
        "recommended": "apply",
        "deadline_at": AT + timedelta(days=1),
        "on_deadline": OnDeadline.GO_ON,
        "status": ReviewStatus.OPEN,
    }
    return Review(
        review_id=review_id, run_id="r1", question="Roll back to step 8?", proposal=PROPOSAL, created_at=AT,
        **given | changes,
    )  # fmt: skip


@pytest.fixture
def waiting(api: ScriptedApi) -> ScriptedApi:
    """A run that waits for review v1."""
    api.reviews["v1"] = review()
    api.change(status=RunStatus.WAITING, review_id="v1")
    return api


def test_question_is_shown_with_evidence_options_and_deadline(waiting: ScriptedApi, aft: Aft) -> None:
    shown = aft("review", "show", "v1").stdout
    for words in (
        "Roll back to step 8?",
        "loss of steps 0 to 19: ▁▁▁▁▁▁▁▁▁▁▁▁▁█▁▁▁▁▁▁",
        "step 13: loss_spike, 9, score 20, update applied",
        "and 2 finding(s) more",
        "replay as_it_was, 0 sample(s) masked: loss 9 at step 13",
        "culprits: row-7",
        "roll back to step 8; blacklist row-7",
        "because It was applied.",
        "apply  Goes back. recommended",
        "aft review approve v1 --option gentler",
        "aft review reject v1",
        "Until 2026-01-03 03:04 UTC; then: go_on.",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_overdue": True}, "Its deadline, 2026-01-03 03:04 UTC, has passed."),
        ({"answered_by": ("ann", "role:admin")}, "For ann, role:admin to answer."),
        ({"options": (), "evidence": None, "deadline_at": None}, "Answer with: aft review approve v1"),
    ],
)
def test_question_says_who_may_still_answer(
    waiting: ScriptedApi, aft: Aft, changes: dict[str, Any], words: str
) -> None:
    waiting.reviews["v1"] = review(**changes)
    assert words in aft("review", "show", "v1").stdout


def test_list_is_of_open_ones_and_reads_every_page(waiting: ScriptedApi, aft: Aft) -> None:
    waiting.reviews |= {"v2": review("v2"), "v3": review("v3", status=ReviewStatus.DECIDED)}
    for arguments, listed in (([], {"v1", "v2"}), (["--decided"], {"v3"}), (["--all"], {"v1", "v2", "v3"})):
        shown = aft("review", "list", *arguments).stdout
        assert {name for name in ("v1", "v2", "v3") if name in shown} == listed
    assert "roll back to step 8; blacklist row-7" in aft("review", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["approve", "v1", "-m", "yes"], Approve(review_id="v1", message="yes")),
        (["approve", "v1", "--option", "gentler", "-m", "yes"], Edit(review_id="v1", repair=GENTLER, message="yes")),
        (["approve", "v1", "--option", "go_on"], Reject(review_id="v1")),
        (["approve", "v1", "--option", "stop", "-m", "enough"], Stop(review_id="v1", message="enough")),
        (["reject", "v1", "-m", "no"], Reject(review_id="v1", message="no")),
        (["edit", "v1", "--repair", GENTLER.model_dump_json()], Edit(review_id="v1", repair=GENTLER)),
    ],
)
def test_review_is_answered_once(waiting: ScriptedApi, aft: Aft, arguments: list[str], sent: Any) -> None:
    result = aft("review", *arguments)
    assert result.exit_code == 0, result.stderr
    assert waiting.commands == [sent.model_dump(mode="json")]
    again = aft("review", *arguments)
    assert again.exit_code == 1
    assert "review_already_decided" in again.stderr
    assert "v1" not in aft("review", "list").stdout


def test_response_carries_its_words(waiting: ScriptedApi, aft: Aft) -> None:
    assert aft("review", "respond", "v1", "").exit_code == 2
    assert aft("review", "respond", "v1", "Ask me tomorrow.", "--key", "k").exit_code == 0
    assert waiting.commands == [{"kind": "respond", "review_id": "v1", "message": "Ask me tomorrow."}]
    assert waiting.headers[-1]["Idempotency-Key"] == "k"


def test_answer_that_cannot_be_is_refused_here(waiting: ScriptedApi, aft: Aft) -> None:
    wrong = aft("review", "edit", "v1", "--repair", '{"kind": "dream"}')
    assert wrong.exit_code == 2
    assert "'dream'" in wrong.stderr
    assert aft("review", "edit", "v1", "--repair", "{").exit_code == 2
    unknown = aft("review", "approve", "v1", "--option", "dance")
    assert unknown.exit_code == 1
    assert "apply, gentler, go_on, stop" in unknown.stderr
    assert "unknown_option" in unknown.stderr
    assert waiting.commands == []
