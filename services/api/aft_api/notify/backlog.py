"""The backlog: what stands in the outbox, and how a message is tried again."""

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.tables import OutboxRow, TargetRow
from aft_api.notify.address import shown
from aft_api.notify.errors import NotificationNotFound, NotificationPending, TargetDisabled
from aft_api.notify.targets import disabled_reason
from aft_contracts import EventKind, NotificationBacklog, NotificationState, NotificationView

AGAIN = {"status": NotificationState.PENDING, "attempts": 0, "next_attempt_at": 0.0, "claimed_until": 0.0}


async def list_notifications(
    session: AsyncSession,
    store: Store,
    *,
    state: NotificationState | None,
    run_id: str | None,
    before: int | None,
    limit: int,
) -> list[NotificationView]:
    """Messages, newest first."""
    query = select(OutboxRow, OutboxRow.next_attempt_at - store.now_s).order_by(OutboxRow.seq.desc()).limit(limit)
    if state is not None:
        query = query.where(OutboxRow.status == state)
    if run_id is not None:
        query = query.where(OutboxRow.run_id == run_id)
    if before is not None:
        query = query.where(OutboxRow.seq < before)
    return [_view(row, due_in_s) for row, due_in_s in await session.execute(query)]


async def view_notification(session: AsyncSession, store: Store, seq: int) -> NotificationView:
    """One message.

    Raises:
        NotificationNotFound: there is none.
    """
    query = select(OutboxRow, OutboxRow.next_attempt_at - store.now_s).where(OutboxRow.seq == seq)
    found = (await session.execute(query)).first()
    if found is None:
        raise NotificationNotFound(seq)
    return _view(*found)


async def count_backlog(session: AsyncSession, clock: Clock) -> NotificationBacklog:
    """How many messages are in each state."""
    found = await session.execute(select(OutboxRow.status, func.count().label("messages")).group_by(OutboxRow.status))
    counts = {row.status: row.messages for row in found}
    oldest = await session.scalar(
        select(OutboxRow.created_at)
        .where(OutboxRow.status == NotificationState.PENDING)
        .order_by(OutboxRow.seq)
        .limit(1)
    )
    return NotificationBacklog(
        pending=counts.get(NotificationState.PENDING, 0),
        failed=counts.get(NotificationState.FAILED, 0),
        sent=counts.get(NotificationState.SENT, 0),
        oldest_pending_s=None if oldest is None else max((clock() - oldest).total_seconds(), 0.0),
    )


async def replay(session: AsyncSession, seq: int) -> None:
    """Try a message again from the start of its schedule, under the same id.

    Raises:
        NotificationNotFound, NotificationPending, TargetDisabled: there is nothing that could be tried again.
    """
    row = await session.get(OutboxRow, seq, with_for_update=True)
    if row is None:
        raise NotificationNotFound(seq)
    if row.status == NotificationState.PENDING:
        raise NotificationPending(seq)
    reason = await disabled_reason(session, row.channel, row.address)
    if reason is not None:
        raise TargetDisabled(seq, reason)
    await session.execute(update(OutboxRow).where(OutboxRow.seq == seq).values(**AGAIN))


async def replay_failed(session: AsyncSession) -> int:
    """Try everything again that was given up, but for disabled targets; how much that is."""
    disabled = exists().where(
        TargetRow.channel == OutboxRow.channel,
        TargetRow.address == OutboxRow.address,
        TargetRow.disabled_at.is_not(None),
    )
    rows = await session.execute(
        update(OutboxRow)
        .where(OutboxRow.status == NotificationState.FAILED, ~disabled)
        .values(**AGAIN)
        .returning(OutboxRow.seq)
    )
    return len(rows.all())


def _view(row: OutboxRow, due_in_s: float) -> NotificationView:
    state = NotificationState(row.status)
    return NotificationView(
        seq=row.seq,
        notification_id=row.body["notification_id"],
        run_id=row.run_id,
        kind=EventKind(row.body["kind"]),
        channel=row.channel,
        target=shown(row.channel, row.address),
        state=state,
        attempts=row.attempts,
        next_attempt_in_s=max(due_in_s, 0.0) if state is NotificationState.PENDING else None,
        last_error=row.last_error,
        created_at=row.created_at,
        sent_at=row.sent_at,
    )
