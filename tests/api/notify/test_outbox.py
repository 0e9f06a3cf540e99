"""The outbox: each message once, in order, to one sender at a time; what became of one that two have tried to send."""

from datetime import UTC, datetime
from typing import Any

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.db.tables import OutboxRow
from aft_api.notify.backlog import count_backlog, list_notifications, replay, replay_failed
from aft_api.notify.delivery import DELIVERED, try_again
from aft_api.notify.errors import NotificationNotFound, NotificationPending, TargetDisabled, TargetNotFound
from aft_api.notify.outbox import announce, claim_due, release_claims, settle
from aft_api.notify.targets import disable, enable, list_targets, pause
from aft_api.runs.repository import get_run, note_run
from aft_api.runs.service import Caller, start_run
from aft_contracts import EventKind, NotificationState, Review, ReviewStatus, RunSpec
from tests.api.conftest import spec_json

pytestmark = pytest.mark.anyio
HOOK, OTHER = "http://127.0.0.1:9/", "http://127.0.0.1:9/other"
AWAY = try_again("the receiver was away")


async def run_with(store: Store, **notify: Any) -> str:
    spec = RunSpec.model_validate(spec_json(notify={"webhooks": [HOOK], **notify}))
    caller = Caller(user="u", channel="api")
    return await start_run(store, spec, idempotency_key=None, caller=caller, clock=utc_now)


async def tell(
    store: Store, run_id: str, key: str, kind: EventKind = EventKind.RUN_SUCCEEDED, *, now: datetime | None = None,
    review: Review | None = None,
) -> None:  # fmt: skip
    async with store.sessions.begin() as session:
        await announce(session, run_id, kind, key, key=key, clock=lambda: now or utc_now(), review=review)


async def due(store: Store, **how: Any) -> list[OutboxRow]:
    return list(await claim_due(store, **{"limit": 10, "claim_s": 60.0, **how}))


async def note(store: Store, row: OutboxRow, state: NotificationState, **how: Any) -> bool:
    delivery = DELIVERED if state is NotificationState.SENT else AWAY
    async with store.sessions.begin() as session:
        return await settle(session, store, row, state, delivery, clock=utc_now, **how)


async def states(store: Store) -> list[str]:
    async with store.reads() as session:
        found = await list_notifications(session, store, state=None, run_id=None, before=None, limit=100)
    return [f"{one.notification_id.rpartition('_')[2]}:{one.state}" for one in reversed(found)]


async def test_message_is_written_once_and_taken_by_one(store: Store) -> None:
    run_id = await run_with(store, webhooks=[HOOK, HOOK])
    for _ in range(2):
        await tell(store, run_id, "end")
    assert len(await due(store)) == 1
    assert await due(store) == []


async def test_messages_of_a_run_leave_in_order_and_runs_and_targets_do_not_wait_for_each_other(store: Store) -> None:
    one, two = await run_with(store, webhooks=[HOOK, OTHER]), await run_with(store)
    for run_id in (one, two):
        for key in ("first", "second"):
            await tell(store, run_id, key)
    taken = await due(store)
    assert [(row.run_id, row.address, row.body["text"]) for row in taken] == [
        (one, HOOK, "first"),
        (one, OTHER, "first"),
        (two, HOOK, "first"),
    ]
    await note(store, taken[0], NotificationState.SENT)
    await note(store, taken[1], NotificationState.PENDING, retry_in_s=300.0)
    await note(store, taken[2], NotificationState.FAILED)
    assert [(row.run_id, row.address, row.body["text"]) for row in await due(store)] == [
        (one, HOOK, "second"),
        (two, HOOK, "second"),
    ], "what waits for its next attempt holds up what comes after it, and what was given up does not"


async def test_a_busy_target_leaves_room_for_others(store: Store) -> None:
    for _ in range(3):
        await tell(store, await run_with(store), "end")
    await tell(store, await run_with(store, webhooks=[OTHER]), "end")
    assert [row.address for row in await due(store, per_target=2)] == [HOOK, HOOK, OTHER]
    assert await due(store, busy=[("webhook", HOOK)]) == []


@pytest.mark.parametrize("late", [NotificationState.PENDING, NotificationState.FAILED])
async def test_attempt_that_failed_late_does_not_undo_a_delivery(store: Store, late: NotificationState) -> None:
    await tell(store, await run_with(store), "end")
    [row] = await due(store)
    assert await note(store, row, NotificationState.SENT)
    assert not await note(store, row, late)
    assert await states(store) == ["end:sent"]


async def test_of_two_claims_the_newer_one_counts_unless_the_older_one_delivered(store: Store) -> None:
    await tell(store, await run_with(store), "end")
    [frozen] = await due(store, claim_s=-1.0)
    [newer] = await due(store)
    assert not await note(store, frozen, NotificationState.FAILED)
    assert await due(store) == [], "the newer claim stands"
    assert await note(store, newer, NotificationState.FAILED)
    assert await note(store, frozen, NotificationState.SENT)
    assert await states(store) == ["end:sent"]


async def test_attempt_that_failed_is_due_again_and_one_that_was_cut_off_when_its_claim_is_over(store: Store) -> None:
    await tell(store, await run_with(store), "end")
    [row] = await due(store)
    await note(store, row, NotificationState.PENDING)
    [again] = await due(store, claim_s=-1.0)
    [once_more] = await due(store)
    assert [one.attempts for one in (row, again, once_more)] == [1, 2, 3]
    await release_claims(store)
    assert [one.attempts for one in await due(store)] == [4]


async def test_paused_target_gets_nothing_and_a_disabled_one_is_listed_until_it_is_enabled(store: Store) -> None:
    await tell(store, await run_with(store), "end")
    async with store.sessions.begin() as session:
        await pause(session, store, "webhook", HOOK, 60.0, "answered 429")
        await disable(session, "webhook", OTHER + "?key=secret", "answered 410", utc_now)
    assert await due(store) == []
    async with store.sessions.begin() as session:
        paused, disabled = await list_targets(session, store)
        assert (paused.target, paused.disabled_at, paused.reason) == (HOOK, None, "answered 429")
        assert paused.paused_for_s == pytest.approx(60.0, abs=30.0)
        assert (disabled.target, disabled.paused_for_s, disabled.reason) == (OTHER + "?…", None, "answered 410")
        for target in (paused, disabled):
            await enable(session, target.target_id)
        with pytest.raises(TargetNotFound):
            await enable(session, "nobody")
    async with store.reads() as session:
        assert await list_targets(session, store) == []
    assert len(await due(store)) == 1


async def test_what_was_given_up_is_replayed_one_by_one_or_all_together(store: Store) -> None:
    run_id = await run_with(store, webhooks=[HOOK, OTHER])
    for key in ("first", "second", "third"):
        await tell(store, run_id, key)
    while rows := await due(store):
        for row in rows:
            await note(store, row, NotificationState.FAILED)
    at_hook, at_other = await seqs(store, HOOK), await seqs(store, OTHER)
    async with store.sessions.begin() as session:
        await disable(session, "webhook", OTHER, "answered 410", utc_now)
        await replay(session, at_hook[1])
        with pytest.raises(NotificationPending):
            await replay(session, at_hook[1])
        with pytest.raises(TargetDisabled, match="aft notifications enable"):
            await replay(session, at_other[0])
        with pytest.raises(NotificationNotFound):
            await replay(session, 10**6)
    [row] = await due(store)
    assert (row.body["text"], row.attempts) == ("second", 1)
    async with store.sessions.begin() as session:
        assert await replay_failed(session) == 2
    async with store.reads() as session:
        backlog = await count_backlog(session, utc_now)
    assert (backlog.pending, backlog.failed, backlog.sent) == (3, 3, 0)
    assert backlog.oldest_pending_s is not None


async def seqs(store: Store, address: str) -> list[int]:
    async with store.reads() as session:
        found = await list_notifications(session, store, state=None, run_id=None, before=None, limit=100)
    return [one.seq for one in reversed(found) if one.target == address]


NIGHT = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
QUIET = {"start": "22:00", "end": "07:00"}


async def held_until(store: Store) -> dict[str, float]:
    async with store.reads() as session:
        rows = [await session.get(OutboxRow, seq) for seq in await seqs(store, HOOK)]
    return {row.body["text"]: row.next_attempt_at for row in rows if row is not None}


async def test_message_waits_for_the_end_of_the_quiet_hours_and_an_urgent_one_takes_it_along(store: Store) -> None:
    run_id = await run_with(store, quiet_hours=QUIET)
    await tell(store, run_id, "question", EventKind.REVIEW_REQUESTED, now=NIGHT)
    assert await held_until(store) == {"question": datetime(2026, 3, 2, 7, 0, tzinfo=UTC).timestamp()}
    await tell(store, run_id, "broken", EventKind.RUN_FAILED, now=NIGHT)
    assert await held_until(store) == {"question": 0.0, "broken": 0.0}
    assert [row.body["text"] for row in await due(store)] == ["question"], "in order all the same"


def open_review(run_id: str) -> Review:
    return Review(
        review_id="r1", run_id=run_id, question="?", proposal=None, status=ReviewStatus.OPEN, created_at=NIGHT
    )


async def test_escalation_waits_its_time_holds_up_nobody_and_is_dropped_by_an_answer(store: Store) -> None:
    run_id = await run_with(store, webhooks=[HOOK], escalation={"webhooks": [HOOK, OTHER], "after_s": 600})
    await tell(store, run_id, "q", EventKind.REVIEW_REQUESTED, review=open_review(run_id))
    assert [(row.address, row.escalates) for row in await due(store, claim_s=-1.0)] == [(HOOK, False)]
    [row] = await due(store)
    await note(store, row, NotificationState.SENT)
    await tell(store, run_id, "answer", EventKind.REVIEW_DECIDED, review=open_review(run_id))
    assert [(row.address, row.body["text"]) for row in await due(store)] == [(HOOK, "answer")]
    assert await states(store) == ["q:sent", "q:dropped", "q:dropped", "answer:pending"]


async def test_whoever_was_asked_by_an_escalation_hears_of_the_answer(store: Store) -> None:
    run_id = await run_with(store, webhooks=[HOOK], escalation={"webhooks": [OTHER], "after_s": 600})
    await tell(store, run_id, "q", EventKind.REVIEW_REQUESTED, review=open_review(run_id), now=NIGHT)
    asked = await due(store)
    assert [(row.address, row.body["text"]) for row in asked] == [
        (HOOK, "q"), (OTHER, "Nobody has answered for 10 min. q"),
    ]  # fmt: skip
    for row in asked:
        await note(store, row, NotificationState.SENT)
    await tell(store, run_id, "answer", EventKind.REVIEW_DECIDED, review=open_review(run_id))
    assert [row.address for row in await due(store)] == [HOOK, OTHER]


async def test_what_a_spec_says_of_other_things_in_words_of_another_version_keeps_nobody_from_being_told(
    store: Store,
) -> None:
    run_id, unreadable = await run_with(store), await run_with(store)
    async with store.sessions.begin() as session:
        for one, changes in ((run_id, {"of_a_newer_version": True}), (unreadable, {"notify": {"pigeons": 2}})):
            await note_run(session, one, spec={**(await get_run(session, one)).spec, **changes})
    for one in (run_id, unreadable):
        await tell(store, one, "end")
    assert [(row.run_id, row.address, row.body["run_name"]) for row in await due(store)] == [(run_id, HOOK, "test")]
