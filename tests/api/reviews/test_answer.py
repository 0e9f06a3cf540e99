"""Which decision a command carries, and who may give it."""

import pytest

from aft_api.reviews.answer import Answering, agreed_repair, decision_on, may_answer
from aft_api.reviews.errors import RepairNeeded, UnexpectedRepair
from aft_contracts import Answer, Approve, Edit, Reject, Repair, RepairKind, Respond, Resume, Stop
from tests.api.reviews.examples import ROLL_BACK, question

OWN = Repair(kind=RepairKind.ROLLBACK, rollback_to_step=0, reasons=("From the start.",))
GENTLER = ROLL_BACK.model_copy(update={"lr_factor": 0.5, "rewarmup_steps": 8})


@pytest.mark.parametrize(
    ("command", "answer", "option", "repair"),
    [
        (Approve(message="yes"), Answer.APPROVE, "apply", ROLL_BACK),
        (Resume(), Answer.APPROVE, "apply", ROLL_BACK),
        (Edit(repair=GENTLER, message="calmly"), Answer.EDIT, "gentler", GENTLER),
        (Edit(repair=OWN), Answer.EDIT, None, OWN),
        (Resume(answer=Answer.EDIT, repair=OWN), Answer.EDIT, None, OWN),
        (Reject(), Answer.REJECT, "go_on", None),
        (Resume(answer=Answer.REJECT), Answer.REJECT, "go_on", None),
        (Respond(message="hm"), Answer.RESPOND, None, None),
        (Stop(review_id="x"), Answer.REJECT, "stop", None),
    ],
)
def test_each_answer_is_one_decision_and_one_repair(
    command: Answering, answer: Answer, option: str | None, repair: Repair | None
) -> None:
    review = question()
    decision = decision_on(review, command)
    assert (decision.answer, decision.option) == (answer, option)
    assert agreed_repair(review.model_copy(update={"decision": decision})) == repair


def test_words_go_with_every_answer() -> None:
    review = question()
    for option in review.options:
        command = option.command.model_copy(update={"message": "enough"})
        assert decision_on(review, command).message == "enough", option.name


def test_every_option_is_known_again_by_its_command() -> None:
    review = question()
    taken = {option.name: decision_on(review, option.command).option for option in review.options}
    assert taken == {name: name for name in ("apply", "gentler", "go_on", "stop")}


def test_resume_carries_a_repair_for_an_edit_alone() -> None:
    with pytest.raises(RepairNeeded):
        decision_on(question(), Resume(answer=Answer.EDIT))
    with pytest.raises(UnexpectedRepair):
        decision_on(question(), Resume(repair=OWN))


@pytest.mark.parametrize(
    ("answered_by", "user", "roles", "allowed"),
    [
        ([], "ann", [], True),
        (["ann"], "ann", [], True),
        (["ann"], "bob", ["operator"], False),
        (["ann", "role:admin"], "bob", ["admin"], True),
        (["role:admin"], "role:admin", [], False),
        (["admin"], "bob", ["admin"], False),
    ],
)
def test_only_those_who_are_asked_may_answer(
    answered_by: list[str], user: str, roles: list[str], allowed: bool
) -> None:
    assert may_answer(question(answered_by=answered_by), user, roles) is allowed
