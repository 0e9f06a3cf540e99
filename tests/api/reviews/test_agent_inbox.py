"""A review and its answers in the shapes of Agent Inbox, there and back."""

from typing import Any

import pytest

from aft_api.errors import AftError
from aft_api.reviews.agent_inbox import command_of, command_of_decision, interrupt_of, response_of
from aft_api.reviews.answer import decision_in
from aft_contracts import Approve, Edit, HumanDecisions, HumanResponse, Reject, Repair, Respond
from tests.api.reviews.examples import ROLL_BACK, question

REVIEW = "r:0:1:d:review"
ARGS = ROLL_BACK.model_dump(mode="json", exclude={"proposal"})


def test_interrupt_has_the_inboxs_fields_and_ours() -> None:
    shown = interrupt_of(question()).model_dump(mode="json")
    description = shown.pop("description")
    assert shown == {
        "action_request": {"action": "apply_repair", "args": ARGS},
        "config": {"allow_ignore": True, "allow_respond": True, "allow_edit": True, "allow_accept": True},
        "review_id": REVIEW,
        "run_id": "r",
        "expires_at": "2026-01-03T03:04:05Z",
    }
    for words in (
        "Verdict data",
        "`apply` (recommended): 1 row(s)",
        "`stop`: Ends the run",
        "2026-01-03 03:04 UTC; then",
    ):
        assert words in description
    assert interrupt_of(question(proposal=None)).action_request.model_dump() == {"action": "go_on", "args": {}}


@pytest.mark.parametrize(
    "command",
    [
        Approve(review_id=REVIEW),
        Reject(review_id=REVIEW),
        Respond(review_id=REVIEW, message="why?"),
        Edit(review_id=REVIEW, repair=ROLL_BACK.model_copy(update={"lr_factor": 0.25, "proposal": None})),
    ],
)
def test_every_answer_goes_there_and_back(command: Approve | Reject | Respond | Edit) -> None:
    assert command_of(question(), response_of(decision_in(command))) == command


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ({"rollback_to_step": "0", "lr_factor": "0.5"}, {"rollback_to_step": 0, "lr_factor": 0.5}),
        ({"blacklist": '["s1", "s2"]'}, {"blacklist": ("s1", "s2")}),
        ({"blacklist": "s1", "reasons": "Not so far."}, {"blacklist": ("s1",), "reasons": ("Not so far.",)}),
        ({"blacklist": "", "rollback_to_step": "null"}, {"blacklist": (), "rollback_to_step": None}),
        ({}, {}),
    ],
)
def test_edited_values_may_come_as_text(edited: dict[str, Any], expected: dict[str, Any]) -> None:
    response = HumanResponse.model_validate({"type": "edit", "args": {"action": "apply_repair", "args": edited}})
    assert command_of(question(), response) == Edit(review_id=REVIEW, repair=ROLL_BACK.model_copy(update=expected))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"type": "response"}, "needs its words"),
        ({"type": "response", "args": ""}, "needs its words"),
        ({"type": "edit", "args": "gently"}, "'apply_repair'"),
        ({"type": "edit", "args": {"action": "rm", "args": {}}}, "'apply_repair'"),
        ({"type": "edit", "args": {"action": "apply_repair", "args": {"lr_factor": "fast"}}}, "lr_factor"),
        ({"type": "edit", "args": {"action": "apply_repair", "args": {"lr_factor": "-1"}}}, "lr_factor"),
        ({"type": "edit", "args": {"action": "apply_repair", "args": {"speed": 1}}}, "speed"),
    ],
)
def test_answer_that_cannot_be_read_is_refused_by_field(sent: dict[str, Any], words: str) -> None:
    with pytest.raises(AftError) as refused:
        command_of(question(), HumanResponse.model_validate(sent))
    assert (refused.value.problem.status, refused.value.problem.code) == (422, "unreadable_response")
    assert words in refused.value.problem.detail


def test_edit_without_a_proposal_must_be_whole() -> None:
    whole = {"kind": "adjust", "lr_factor": 0.5, "reasons": ["Gently."]}
    response = HumanResponse.model_validate({"type": "edit", "args": {"action": "apply_repair", "args": whole}})
    assert command_of(question(proposal=None), response) == Edit(review_id=REVIEW, repair=Repair.model_validate(whole))


GENTLER = {"name": "apply_repair", "args": {"lr_factor": "0.5"}}


def decision_of(sent: dict[str, Any]) -> Any:
    """The command that LangChain's middleware would have got this decision for."""
    [decision] = HumanDecisions.model_validate({"decisions": [sent]}).decisions
    return command_of_decision(question(), decision)


@pytest.mark.parametrize(
    ("sent", "command"),
    [
        ({"type": "approve"}, Approve(review_id=REVIEW)),
        ({"type": "reject"}, Reject(review_id=REVIEW)),
        ({"type": "reject", "message": "not today"}, Reject(review_id=REVIEW, message="not today")),
        ({"type": "respond", "message": "why?"}, Respond(review_id=REVIEW, message="why?")),
        (
            {"type": "edit", "edited_action": GENTLER},
            Edit(review_id=REVIEW, repair=ROLL_BACK.model_copy(update={"lr_factor": 0.5})),
        ),
    ],
)
def test_decision_in_langchains_words_is_the_same_command(sent: dict[str, Any], command: Any) -> None:
    assert decision_of(sent) == command


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"type": "respond"}, "needs its words"),
        ({"type": "edit"}, "'apply_repair'"),
        ({"type": "edit", "edited_action": {"name": "rm", "args": {}}}, "'apply_repair'"),
        ({"type": "edit", "edited_action": {"name": "apply_repair", "args": {"lr_factor": "-1"}}}, "lr_factor"),
        ({"type": "approve", "edited_action": GENTLER}, "goes with an edit"),
    ],
)
def test_decision_that_cannot_be_read_is_refused_by_field(sent: dict[str, Any], words: str) -> None:
    with pytest.raises(AftError) as refused:
        decision_of(sent)
    assert refused.value.problem.code == "unreadable_response"
    assert words in refused.value.problem.detail
