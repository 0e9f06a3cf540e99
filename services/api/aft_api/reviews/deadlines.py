"""Deadlines: what becomes of a question that nobody answered in time."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from aft_api.clock import Clock
from aft_api.db.engine import STORE_ERRORS, Store
from aft_api.errors import AftError
from aft_api.notify.outbox import announce
from aft_api.reviews.repository import due_reviews, note_overdue
from aft_api.runs.events import record
from aft_api.runs.service import SYSTEM, Caller, give_command
from aft_api.stop import Stop
from aft_contracts import EventKind, Review

log = structlog.get_logger()
EVERY_S = 1.0
BATCH = 50
DEADLINE = Caller(user="deadline", channel=SYSTEM)


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Sees to questions whose deadline has passed.

    It keeps nothing in memory, so a restart loses nothing; and each step is a compare-and-set or a command under a key
    of the review's own, so that replicas may all do it, and a human who answers in the same moment is first or second
    like anybody else.
    """

    store: Store
    clock: Clock
    stop: Stop
    on_answer: Callable[[str], None]
    """Hears which run was given an answer."""

    async def run(self) -> None:
        """Look every second until the stop is asked for."""
        while not self.stop.is_asked:
            try:
                seen = await self.see_to_due()
            except STORE_ERRORS:
                log.exception("deadlines_unreadable")
                seen = 0
            if seen < BATCH:
                await self.stop.sleep(EVERY_S)

    async def see_to_due(self) -> int:
        """See to the questions whose deadline has passed; how many there were."""
        async with self.store.reads() as session:
            due = await due_reviews(session, self.store, limit=BATCH)
        for review in due:
            await self._see_to(review)
        return len(due)

    async def _see_to(self, review: Review) -> None:
        option = review.option(review.on_deadline)
        if option is not None:
            try:
                await give_command(
                    self.store, review.run_id, option.command,
                    command_id=f"deadline:{review.review_id}", caller=DEADLINE, clock=self.clock,
                )  # fmt: skip
            except (
                AftError
            ) as refusal:  # somebody was first, or the option has become impossible: then it goes on waiting
                log.info("deadline_refused", review_id=review.review_id, code=refusal.problem.code)
            else:
                log.info("deadline_answered", review_id=review.review_id, option=option.name)
                self.on_answer(review.run_id)
                return
        await self._hold(review)

    async def _hold(self, review: Review) -> None:
        async with self.store.sessions.begin() as session:
            if not await note_overdue(session, review.review_id):
                return
            text = f"Nobody has answered review {review.review_id} in time; the run goes on waiting."
            await record(
                session, review.run_id, EventKind.REVIEW_OVERDUE, text,
                key=review.review_id, clock=self.clock, review_id=review.review_id,
            )  # fmt: skip
            await announce(
                session, review.run_id, EventKind.REVIEW_OVERDUE, text,
                key=review.review_id, clock=self.clock, review=review,
            )  # fmt: skip
        log.info("review_overdue", review_id=review.review_id)
