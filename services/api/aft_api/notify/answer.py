"""Answers that come from outside: an option of the question, or one of the canonical answers, as a command."""

from collections.abc import Callable
from dataclasses import dataclass

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.notify.errors import NoSuchOption
from aft_api.reviews.repository import get_review
from aft_api.runs.service import Caller, give_command
from aft_contracts import Answer, Approve, Command, Reject, Review


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Gives answers to reviews, by their compare-and-set."""

    store: Store
    clock: Clock
    on_answer: Callable[[str], None]
    """Called with the run's id when an answer was taken."""

    async def give(self, review_id: str, choice: str, message: str, caller: Caller) -> Review:
        """Answer by the name of an option, or by `approve` or `reject`; the review as it is then.

        Raises:
            NoSuchOption: the question has no such answer.
            AftError: the run's commands refuse it, as they would anybody's.
        """
        async with self.store.reads() as session:
            review = await get_review(session, review_id)
        command = _command(review, choice, message)
        await give_command(self.store, review.run_id, command, command_id=None, caller=caller, clock=self.clock)
        self.on_answer(review.run_id)
        async with self.store.reads() as session:
            return await get_review(session, review_id)


def _command(review: Review, choice: str, message: str) -> Command:
    option = review.option(choice)
    if option is not None:
        says = "message" in type(option.command).model_fields
        return option.command.model_copy(update={"message": message}) if says and message else option.command
    if choice == Answer.APPROVE:
        return Approve(review_id=review.review_id, message=message)
    if choice == Answer.REJECT:
        return Reject(review_id=review.review_id, message=message)
    raise NoSuchOption(review.review_id, choice, [option.name for option in review.options])
