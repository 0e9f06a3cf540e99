"""Clicks in Slack, acted upon: the work goes on when Slack has its acknowledgement already."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog

from aft_api.db.engine import STORE_ERRORS
from aft_api.errors import AftError
from aft_api.notify.answer import Answers
from aft_api.notify.delivery import Delivery
from aft_api.notify.errors import SlackBusy
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
        """Begin to act on the click; what Slack is to hear, as soon as it is known and in time in any case.

        Raises:
            SlackBusy: there is no room, or the process is about to end.
        """
        if self._tasks is None or self._at_once >= MOST_AT_ONCE:
            raise SlackBusy
        self._at_once += 1
        task = self._tasks.create_task(self._act(click), name="slack click")
        done, _ = await asyncio.wait([task], timeout=ACKNOWLEDGE_WITHIN_S)
        return task.result() if done else None

    async def _act(self, click: SlackClick) -> dict[str, Any] | None:
        try:
            if click.user_id not in self._approvers:
                raise SlackUserNotAllowed(click.user_id)
            if click.choice is None:
                await self._open_modal(click)
                return None
            caller = Caller(user=f"slack:{click.user_id}", channel="slack")
            await self._answers.give(click.review_id, click.choice, click.message, caller)
        except AftError as refusal:
            log.info("slack_click_refused", review_id=click.review_id, code=refusal.problem.code)
            return await self._say(click, str(refusal))
        except STORE_ERRORS:
            log.exception("slack_click_lost", review_id=click.review_id)
            return await self._say(click, "The store does not answer; nothing was changed. Try again in a moment.")
        finally:
            self._at_once -= 1
        return None

    async def _open_modal(self, click: SlackClick) -> None:
        async with self._answers.store.reads() as session:
            review = await get_review(session, click.review_id)
        if review.status is ReviewStatus.DECIDED:
            raise ReviewAlreadyDecided(review)
        if review.status is not ReviewStatus.OPEN or not review.options or self._client is None:
            await self._say(click, f"{outcome_of(review)} `aft review edit` answers with a repair of your own.")
            return
        body = {"trigger_id": click.trigger_id, "view": edit_view(review)}
        answer = await self._client.call("views.open", body)
        if isinstance(answer, Delivery):
            log.warning("slack_modal_failed", review_id=click.review_id, reason=answer.reason)
            await self._say(click, f"The form could not be opened ({answer.reason}); `aft review edit` answers too.")

    async def _say(self, click: SlackClick, words: str) -> dict[str, Any] | None:
        """Tell whoever clicked, and nobody else: in the modal, or below the message."""
        if click.channel is None:
            return {"response_action": "errors", "errors": {"choice": words[:2000]}}
        if self._client is not None:
            body = {"channel": click.channel, "user": click.user_id, "text": words}
            told = await self._client.call("chat.postEphemeral", body)
            if isinstance(told, Delivery):
                log.info("slack_clicker_not_told", reason=told.reason)
        return None
