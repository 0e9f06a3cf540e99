"""Retention: messages that have arrived are kept for a while, and forgotten."""

from datetime import datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from aft_api.db.tables import OutboxRow, RunRow
from aft_contracts import FINISHED, NotificationState

AT_ONCE = 500
"""Messages forgotten in one transaction, so that it is short."""


async def forget_arrived(session: AsyncSession, *, before: datetime, limit: int = AT_ONCE) -> int:
    """Forget messages that arrived, or were dropped, before then; how many, `limit` at most.

    Only those of runs that have ended and have nothing more to send. Until then they say where a run's thread is, which
    message an answer edits, and what has been announced already. What was given up stays: it may be replayed.
    """
    left = aliased(OutboxRow)
    over = (
        select(OutboxRow.seq)
        .join(RunRow, RunRow.run_id == OutboxRow.run_id)
        .where(
            OutboxRow.status.in_([NotificationState.SENT, NotificationState.DROPPED]),
            func.coalesce(OutboxRow.sent_at, OutboxRow.created_at) < before,
            RunRow.status.in_(FINISHED),
            ~exists().where(left.run_id == OutboxRow.run_id, left.status == NotificationState.PENDING),
        )
        .order_by(OutboxRow.seq)
        .limit(limit)
    )
    gone = await session.execute(delete(OutboxRow).where(OutboxRow.seq.in_(over)).returning(OutboxRow.seq))
    return len(gone.all())
