"""Answers: which decision a command carries, which option that is, what it changes, and who may give it."""

from collections.abc import Collection

from aft_api.reviews.errors import RepairNeeded, UnexpectedRepair
from aft_contracts import (
    Answer,
    Approve,
    Command,
    Decision,
    Edit,
    Option,
    Reject,
    Repair,
    Respond,
    Resume,
    Review,
    Stop,
)

Answering = Approve | Edit | Reject | Respond | Resume | Stop
"""Commands that may answer a review; the last two do more, and other things as well."""

ROLE = "role:"
"""How the name of a role begins among those who may answer; no user's name does, whatever they call themselves."""


def decision_in(command: Answering) -> Decision:
    """What a command says to a review.

    Raises:
        RepairNeeded, UnexpectedRepair: a resume whose answer and repair do not fit.
    """
    match command:
        case Approve(message=message):
            return Decision(answer=Answer.APPROVE, message=message)
        case Edit(repair=repair, message=message):
            return Decision(answer=Answer.EDIT, repair=repair, message=message)
        case Reject(message=message) | Stop(message=message):
            return Decision(answer=Answer.REJECT, message=message)
        case Respond(message=message):
            return Decision(answer=Answer.RESPOND, message=message)
        case Resume(answer=answer, repair=repair, message=message):
            if answer is Answer.EDIT and repair is None:
                raise RepairNeeded
            if answer is not Answer.EDIT and repair is not None:
                raise UnexpectedRepair(answer)
            return Decision(answer=answer, repair=repair, message=message)


def decision_on(review: Review, command: Answering) -> Decision:
    """What a command says to `review`, with the option that it takes."""
    decision = decision_in(command)
    taken = next((option.name for option in review.options if _takes(option, command, decision)), None)
    return decision.model_copy(update={"option": taken})


def agreed_repair(review: Review) -> Repair | None:
    """The repair that the answer to `review` asks for; None changes nothing."""
    if review.decision is None:
        return None
    match review.decision.answer:
        case Answer.EDIT:
            return review.decision.repair
        case Answer.APPROVE:
            return review.proposal
        case _:
            return None


def may_answer(review: Review, user: str, roles: Collection[str]) -> bool:
    """Whether this user, or one of these roles, is among those who are asked."""
    users = {name for name in review.answered_by if not name.startswith(ROLE)}
    return not review.answered_by or user in users or any(f"{ROLE}{role}" in review.answered_by for role in roles)


def _takes(option: Option, command: Command, decision: Decision) -> bool:
    if isinstance(option.command, Stop) or isinstance(command, Stop):
        return isinstance(option.command, Stop) and isinstance(command, Stop)
    if not isinstance(option.command, Approve | Edit | Reject | Respond):
        return False
    return decision_in(option.command) == decision.model_copy(update={"message": ""})
