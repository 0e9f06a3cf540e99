"""The dispatcher: a message that cannot be read, made or sent is given up with its reason, and the others go out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import update

from aft_api.db.engine import Store
from aft_api.db.tables import OutboxRow, ReviewRow
from aft_api.notify.backlog import list_notifications
from aft_api.notify.delivery import Delivery, DeliveryStatus
from aft_api.notify.dispatcher import Dispatcher
from aft_api.notify.parcel import Parcel, Sender
from aft_api.reviews.repository import ask
from aft_api.stop import Stop
from aft_contracts import EventKind, NotificationState, NotificationView
from tests.api.notify.test_outbox import open_review, run_with, tell

pytestmark = pytest.mark.anyio
SECRET = "https://hooks.example/secret"


class Keeping:
    """Takes every message and keeps it; one whose text is `breaks` it cannot make."""

    def __init__(self, *, breaks: str = "") -> None:
        self.sent: list[Parcel] = []
        self._breaks = breaks

    async def send(self, parcel: Parcel) -> Delivery:
        """Receipted, as Slack does."""
        if parcel.message.text == self._breaks:
            raise KeyError(SECRET)
        self.sent.append(parcel)
        return Delivery(status=DeliveryStatus.DELIVERED, receipt={"channel": "C1", "ts": str(len(self.sent))})


@asynccontextmanager
async def dispatching(store: Store, channel: str, sender: Sender) -> AsyncIterator[None]:
    """A dispatcher is at work meanwhile, and comes to its end in good order."""
    stop = Stop()
    dispatcher = Dispatcher(
        store=store, senders={channel: sender}, stop=stop, timeout_s=5.0, public_url="http://aft.example",
        keep=timedelta(days=1),
    )  # fmt: skip
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(dispatcher.run())
        yield
        stop.ask()


async def settled(store: Store, count: int) -> dict[str, NotificationView]:
    """All messages by the key they were announced under, once there are so many and none waits."""
    async with asyncio.timeout(20):
        while True:
            async with store.reads() as session:
                found = await list_notifications(session, store, state=None, run_id=None, before=None, limit=100)
            if len(found) == count and all(one.state is not NotificationState.PENDING for one in found):
                return {one.notification_id.rpartition("_")[2]: one for one in found}
            await asyncio.sleep(0.05)


async def test_a_message_that_cannot_be_made_is_given_up_and_those_behind_it_go_out(store: Store) -> None:
    run_id, sender = await run_with(store), Keeping(breaks="first")
    for key in ("first", "second"):
        await tell(store, run_id, key)
    async with dispatching(store, "webhook", sender):
        told = await settled(store, 2)
    assert {key: one.state for key, one in told.items()} == {"first": "failed", "second": "sent"}
    assert told["first"].last_error == "the message cannot be made or sent: KeyError; the API's log has the trace"
    assert [parcel.message.text for parcel in sender.sent] == ["second"]


async def test_a_message_of_another_version_is_given_up_and_those_behind_it_go_out(store: Store) -> None:
    run_id, sender = await run_with(store), Keeping()
    for key in ("first", "second"):
        await tell(store, run_id, key)
    async with store.sessions.begin() as session:
        kept = {"notification_id": f"{run_id}_run_succeeded_first", "kind": "run_succeeded"}
        await session.execute(update(OutboxRow).where(OutboxRow.body["text"].as_string() == "first").values(body=kept))
    async with dispatching(store, "webhook", sender):
        told = await settled(store, 2)
    assert {key: one.state for key, one in told.items()} == {"first": "failed", "second": "sent"}
    assert told["first"].last_error.startswith("the message cannot be read: ")


async def test_a_message_about_a_review_that_cannot_be_read_is_given_up_and_others_go_out(store: Store) -> None:
    sender, run_id = Keeping(), await run_with(store)
    async with store.sessions.begin() as session:
        await ask(session, open_review(run_id))
        await session.execute(update(ReviewRow).values(options=[{"of_a_newer_version": True}]))
    await tell(store, run_id, "q", EventKind.REVIEW_REQUESTED, review=open_review(run_id))
    await tell(store, await run_with(store), "end")
    async with dispatching(store, "webhook", sender):
        told = await settled(store, 2)
    assert {key: one.state for key, one in told.items()} == {"q": "failed", "end": "sent"}
    assert "ValidationError" in told["q"].last_error


async def test_an_answer_to_a_question_that_cannot_be_read_is_told_by_a_message_of_its_own(store: Store) -> None:
    sender, run_id = Keeping(), await run_with(store, webhooks=[], slack_channel="C1")
    review = open_review(run_id)
    async with store.sessions.begin() as session:
        await ask(session, review)
    await tell(store, run_id, "q", EventKind.REVIEW_REQUESTED, review=review)
    async with dispatching(store, "slack", sender):
        await settled(store, 1)
    async with store.sessions.begin() as session:
        kept = {"notification_id": f"{run_id}_review_requested_q", "kind": "review_requested"}
        await session.execute(update(OutboxRow).values(body=kept))
    await tell(store, run_id, "a", EventKind.REVIEW_DECIDED, review=review)
    async with dispatching(store, "slack", sender):
        told = await settled(store, 2)
    assert told["a"].state == "sent"
    assert (sender.sent[-1].message.text, sender.sent[-1].question) == ("a", None)
