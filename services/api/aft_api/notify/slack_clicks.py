"""Clicks in Slack, acted upon: the work goes on when Slack has its acknowledgement already."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog

from aft_api.db.engine import STORE_ERRORS
from aft_api.errors import AftError
from aft_api.notify.answer import Answers
from aft_api.notify.delivery import Delivery
from aft_api.notify.errors import SlackBusy, SlackClickerNotTold, SlackClickOpen
from aft_api.notify.slack import SlackClient
from aft_api.notify.slack_blocks import edit_view, outcome_of
from aft_api.notify.slack_interaction import SlackClick, SlackUserNotAllowed
from aft_api.reviews.errors import ReviewAlreadyDecided
from aft_api.reviews.repository import get_review
from aft_api.runs.service import Caller
from aft_api.stop import Stop, Stopped
from aft_contracts import ReviewStatus

log = structlog.get_logger()
ACKNOWLEDGE_WITHIN_S = 2.0
"""Slack waits for three seconds, the way there and back included."""
MOST_AT_ONCE = 100
"""Clicks that are being acted upon; whoever clicks meanwhile is told to try again."""
NOT_YET = (
    "Your answer is not on record yet: the store is slow. It may still come to be, and the question loses its buttons "
    "then. As long as it has them, nobody has answered it: answer again."
)
STORE_AWAY = (
    "The store does not answer, so your answer is not on record, as far as can be known. Answer again in a moment: as "
    "long as the question has its buttons, nobody has answered it."
)
AFTER_ALL = "Your answer is on record now."

Heard = dict[str, Any] | AftError | None
"""What Slack hears: words for a modal, an error that it shows by its own sign, or that all is done."""


class SlackClicks:
    """Acts on clicks, in tasks of its own that end before the process does."""

    def __init__(self, answers: Answers, client: SlackClient | None, approvers: tuple[str, ...], stop: Stop) -> None:
        self._answers, self._client, self._approvers, self._stop = answers, client, approvers, stop
        self._tasks: asyncio.TaskGroup | None = None
        self._at_once = 0

    async def run(self) -> None:
        """Own the tasks until the stop is asked for, and until they have ended."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            with suppress(Stopped):
                async with self._stop.breaks_off():
                    await asyncio.Event().wait()
            self._tasks = None

    async def acknowledge(self, click: SlackClick) -> dict[str, Any] | None:
        """Act on the click; what Slack is to hear, in time in any case. None says that it has been acted upon.

        Slack tells of a click once, and shows whoever clicked a sign of its own when it is not acknowledged. So nothing
        is acknowledged that a crash could still undo.

        Raises:
            SlackBusy: there is no room, or the process is about to end.
            SlackClickOpen: it is not acted upon yet, or not as far as is known.
            SlackClickerNotTold: it was refused, and Slack did not take the words that say so.
        """
        if self._tasks is None or self._at_once >= MOST_AT_ONCE:
            raise SlackBusy
        self._at_once += 1
        is_late = asyncio.Event()
        task = self._tasks.create_task(self._act(click, is_late), name="slack click")
        done, _ = await asyncio.wait([task], timeout=ACKNOWLEDGE_WITHIN_S)
        heard = task.result() if done else self._not_yet(click, is_late)
        if isinstance(heard, AftError):
            raise heard
        return heard

    def _not_yet(self, click: SlackClick, is_late: asyncio.Event) -> Heard:
        is_late.set()
        log.warning("slack_click_slow", review_id=click.review_id)
        if click.channel is None:
            return _in_modal(NOT_YET)
        if click.choice is not None and self._tasks is not None:
            self._tasks.create_task(self._say(click, NOT_YET), name="slack whisper")
        return SlackClickOpen(NOT_YET)

    async def _act(self, click: SlackClick, is_late: asyncio.Event) -> Heard:
        try:
            if click.user_id not in self._approvers:
                raise SlackUserNotAllowed(click.user_id)
            if click.choice is None:
                return await self._open_modal(click)
            caller = Caller(user=f"slack:{click.user_id}", channel="slack")
            await self._answers.give(click.review_id, click.choice, click.message, caller)
        except AftError as refusal:
            log.info("slack_click_refused", review_id=click.review_id, code=refusal.problem.code)
            return await self._say(click, str(refusal))
        except STORE_ERRORS:
            log.exception("slack_click_lost", review_id=click.review_id)
            said = await self._say(click, STORE_AWAY)
            return said if isinstance(said, dict) else SlackClickOpen(STORE_AWAY)
        finally:
            self._at_once -= 1
        return await self._say(click, AFTER_ALL) if is_late.is_set() else None

    async def _open_modal(self, click: SlackClick) -> Heard:
        async with self._answers.store.reads() as session:
            review = await get_review(session, click.review_id)
        if review.status is ReviewStatus.DECIDED:
            raise ReviewAlreadyDecided(review)
        if review.status is not ReviewStatus.OPEN or not review.options or self._client is None:
            return await self._say(click, f"{outcome_of(review)} `aft review edit` answers with a repair of your own.")
        body = {"trigger_id": click.trigger_id, "view": edit_view(review)}
        answer = await self._client.call("views.open", body)
        if isinstance(answer, Delivery):
            log.warning("slack_modal_failed", review_id=click.review_id, reason=answer.reason)
            words = f"The form could not be opened ({answer.reason}); `aft review edit` answers too."
            return await self._say(click, words)
        return None

    async def _say(self, click: SlackClick, words: str) -> Heard:
        """Tell whoever clicked, and nobody else: in the modal, or below the message."""
        if click.channel is None:
            return _in_modal(words)
        if self._client is None:
            return SlackClickerNotTold(words)
        told = await self._client.call(
            "chat.postEphemeral", {"channel": click.channel, "user": click.user_id, "text": words}
        )
        if isinstance(told, Delivery):
            log.info("slack_clicker_not_told", reason=told.reason)
            return SlackClickerNotTold(words)
        return None


def _in_modal(words: str) -> dict[str, Any]:
    return {"response_action": "errors", "errors": {"choice": words[:2000]}}
