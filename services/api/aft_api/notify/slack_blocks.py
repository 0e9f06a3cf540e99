"""A notification as Slack's Block Kit: the evidence, and buttons that carry a review's id and nothing else."""

from typing import Any

from aft_api.notify.figures import figures_of
from aft_api.notify.links import Links
from aft_api.notify.message import Notification
from aft_contracts import Review, ReviewStatus

SECTION_CHARS = 2900
"""Slack refuses a section of more than 3,000 characters."""

MOST_FIELDS = 10
"""Slack refuses a section of more than 10 fields."""

FIELD_CHARS = 1900
"""Slack refuses a field of more than 2,000 characters."""

OPTION_CHARS = 70
"""Slack refuses an option's text of more than 75 characters."""

APPROVE, EDIT, REJECT = "aft_approve", "aft_edit", "aft_reject"
"""What a click on each button is called when Slack reports it."""


def blocks_of(notification: Notification) -> list[dict[str, Any]]:
    """The message's blocks; a question gets its buttons, anything else is told and no more."""
    review = notification.review
    if review is None:
        return _told(notification)
    buttons = [
        _button("Approve", APPROVE, review.review_id, style="primary"),
        _button("Edit…", EDIT, review.review_id),
        _button("Reject", REJECT, review.review_id, style="danger"),
    ]
    return [*_asked(notification, review), _actions(buttons), _links(notification)]


def linked_blocks(notification: Notification, links: Links | None, sent_to: str) -> list[dict[str, Any]]:
    """The blocks for an incoming webhook, which hears of no click: its buttons are links to the answer page."""
    review = notification.review
    if review is None:
        return _told(notification)
    buttons = []
    if links is not None and review.status is ReviewStatus.OPEN:
        buttons = [
            _actions(
                [
                    _button("Approve…", APPROVE, review.review_id, url=links.url(review, sent_to, take="approve")),
                    _button("Edit…", EDIT, review.review_id, url=links.url(review, sent_to)),
                    _button("Reject…", REJECT, review.review_id, url=links.url(review, sent_to, take="reject")),
                ]
            )
        ]
    return [*_asked(notification, review), *buttons, _links(notification)]


def answered_blocks(notification: Notification, review: Review | None) -> list[dict[str, Any]]:
    """The blocks of a message whose question nobody need answer any more: who answered what, and no buttons."""
    asked = _told(notification) if notification.review is None else _asked(notification, notification.review)
    return [*asked, _section(f"*{_escaped(outcome_of(review))}*")]


def edit_view(review: Review) -> dict[str, Any]:
    """The modal in which one of the question's options is chosen, with words for the record."""
    options = [
        {
            "text": {"type": "plain_text", "text": _cut(option.name, OPTION_CHARS)},
            "description": {"type": "plain_text", "text": _cut(option.effect, OPTION_CHARS)},
            "value": option.name,
        }
        for option in review.options
    ]
    return {
        "type": "modal",
        "callback_id": EDIT,
        "private_metadata": review.review_id,
        "title": {"type": "plain_text", "text": "Answer"},
        "submit": {"type": "plain_text", "text": "Answer"},
        "close": {"type": "plain_text", "text": "Cancel"},
        "blocks": [
            _section(_escaped(review.question)),
            {
                "type": "input",
                "block_id": "choice",
                "label": {"type": "plain_text", "text": "What should the run do?"},
                "element": {"type": "radio_buttons", "action_id": "choice", "options": options},
            },
            {
                "type": "input",
                "block_id": "message",
                "optional": True,
                "label": {"type": "plain_text", "text": "Words for the record"},
                "element": {"type": "plain_text_input", "action_id": "message", "multiline": True, "max_length": 3000},
            },
        ],
    }


def outcome_of(review: Review | None) -> str:
    """What became of a question, in words."""
    if review is None or review.status is ReviewStatus.WITHDRAWN:
        return "The question was taken back: its run has ended."
    if review.decision is None:
        return "The question waits for an answer."
    through = f" through {review.decided_via}" if review.decided_via else ""
    return f"Answered {review.decision.option or review.decision.answer} by {review.decided_by or 'unknown'}{through}."


def _told(notification: Notification) -> list[dict[str, Any]]:
    link = f"<{notification.run_url}|{_escaped(notification.run_name)}>"
    blocks = [_section(f"*{_escaped(notification.kind.replace('_', ' '))}* · {link}\n{_escaped(notification.text)}")]
    figures = list(notification.details.items())
    if notification.review is not None:
        figures += figures_of(notification.review)
    if figures:
        blocks.append({"type": "section", "fields": [_field(name, value) for name, value in figures[:MOST_FIELDS]]})
    return blocks


def _asked(notification: Notification, review: Review) -> list[dict[str, Any]]:
    blocks = _told(notification)
    if review.question not in notification.text:
        blocks.append(_section(_escaped(review.question)))
    if review.options:
        lines = [
            f"• *{option.name}*{' (recommended)' if option.name == review.recommended else ''}: {option.effect}"
            for option in review.options
        ]
        blocks.append(_section("\n".join(_escaped(line) for line in lines)))
    return blocks


def _links(notification: Notification) -> dict[str, Any]:
    links = [f"<{notification.run_url}|run {_escaped(notification.run_id)}>"]
    if notification.review_url is not None:
        links.append(f"<{notification.review_url}|the whole report>")
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": " · ".join(links)}]}


def _actions(buttons: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "actions", "block_id": "aft_review", "elements": buttons}


def _button(label: str, action_id: str, review_id: str, **more: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label}
    return {"type": "button", "action_id": action_id, "text": text, "value": review_id, **more}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, SECTION_CHARS)}}


def _field(name: str, value: object) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": _cut(f"*{_escaped(name)}*\n{_escaped(str(value))}", FIELD_CHARS)}


def _escaped(text: str) -> str:
    """Slack's three control characters, so that no name or id can write a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
