"""Reviews in the shapes of Agent Inbox, and its answers and those of LangChain's middleware as our commands."""

import json
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError

from aft_api.errors import AftError
from aft_contracts import (
    ActionRequest,
    Answer,
    Approve,
    Decision,
    Edit,
    HumanDecision,
    HumanInterrupt,
    HumanInterruptConfig,
    HumanResponse,
    Reject,
    Repair,
    Respond,
    Review,
)

APPLY, GO_ON = "apply_repair", "go_on"


class UnreadableResponse(AftError):
    """The answer of the inbox does not fit its type."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


def interrupt_of(review: Review) -> HumanInterrupt:
    """The review as an inbox shows it."""
    return HumanInterrupt(
        action_request=_action(review.proposal),
        config=HumanInterruptConfig(allow_ignore=True, allow_respond=True, allow_edit=True, allow_accept=True),
        description=_description(review),
        review_id=review.review_id,
        run_id=review.run_id,
        expires_at=review.deadline_at,
    )


def command_of(review: Review, response: HumanResponse) -> Approve | Edit | Reject | Respond:
    """What an inbox's answer tells the run.

    Raises:
        UnreadableResponse: a response without words, or an edit that is no repair.
    """
    match response.type:
        case "accept":
            return Approve(review_id=review.review_id)
        case "ignore":
            return Reject(review_id=review.review_id)
        case "response":
            if not isinstance(response.args, str) or not 0 < len(response.args) <= 4000:
                raise UnreadableResponse("A response needs its words in `args`, 1 to 4,000 characters.", field="args")
            return Respond(review_id=review.review_id, message=response.args)
        case "edit":
            action = response.args
            if not isinstance(action, ActionRequest):
                raise _no_action("args")
            return Edit(review_id=review.review_id, repair=_edited(review, action.action, action.args, "args.action"))


def command_of_decision(review: Review, decision: HumanDecision) -> Approve | Edit | Reject | Respond:
    """What a decision in LangChain's words tells the run.

    Raises:
        UnreadableResponse: a response without words, an edit that is no repair, an edited action with no edit.
    """
    action = decision.edited_action
    if action is not None and decision.type != "edit":
        raise UnreadableResponse(
            f"An edited action goes with an edit, and this is {decision.type!r}.", field="edited_action"
        )
    match decision.type:
        case "approve":
            return Approve(review_id=review.review_id, message=decision.message)
        case "reject":
            return Reject(review_id=review.review_id, message=decision.message)
        case "respond":
            if not decision.message:
                raise UnreadableResponse("A response needs its words in `message`.", field="message")
            return Respond(review_id=review.review_id, message=decision.message)
        case "edit":
            if action is None:
                raise _no_action("edited_action")
            repair = _edited(review, action.name, action.args, "edited_action.name")
            return Edit(review_id=review.review_id, repair=repair, message=decision.message)


def response_of(decision: Decision) -> HumanResponse:
    """The decision as an inbox would have sent it."""
    match decision.answer:
        case Answer.APPROVE:
            return HumanResponse(type="accept")
        case Answer.REJECT:
            return HumanResponse(type="ignore")
        case Answer.RESPOND:
            return HumanResponse(type="response", args=decision.message)
        case Answer.EDIT:
            return HumanResponse(type="edit", args=_action(decision.repair))


def _action(repair: Repair | None) -> ActionRequest:
    if repair is None:
        return ActionRequest(action=GO_ON, args={})
    return ActionRequest(action=APPLY, args=repair.model_dump(mode="json", exclude={"proposal"}))


def _no_action(field: str) -> UnreadableResponse:
    return UnreadableResponse(f"An edit needs the action {APPLY!r} with the fields of a repair in `args`.", field=field)


def _edited(review: Review, action: str, args: dict[str, Any], field: str) -> Repair:
    if action != APPLY:
        raise _no_action(field)
    proposed = {} if review.proposal is None else review.proposal.model_dump(mode="json", exclude={"proposal"})
    given = {name: _plain(value, name) for name, value in args.items()}
    try:
        return Repair.model_validate({**proposed, **given})
    except ValidationError as refused:
        wrong = {".".join(map(str, error["loc"])) or "args": error["msg"] for error in refused.errors()}
        words = "; ".join(f"{field}: {problem}" for field, problem in wrong.items())
        raise UnreadableResponse(f"The edited repair cannot be made: {words}.", fields=wrong) from refused


def _plain(value: Any, name: str) -> Any:
    """The value that an inbox's text field stood for: lists and nothing are written as JSON there."""
    if not isinstance(value, str):
        return value
    if value.strip() in {"", "null", "None"}:
        return () if name in {"blacklist", "reasons"} else None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return (value,) if name in {"blacklist", "reasons"} else value


def _description(review: Review) -> str:
    lines = [f"**{review.question}**", ""]
    lines += [
        f"- `{option.name}`{' (recommended)' if option.name == review.recommended else ''}: {option.effect}"
        for option in review.options
    ]
    if review.deadline_at is not None:
        lines += ["", f"Until {review.deadline_at:%Y-%m-%d %H:%M} UTC; then: {review.on_deadline}."]
    return "\n".join(lines)
