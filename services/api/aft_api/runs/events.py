"""Events: recorded once per key, read in order."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Integer, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.once import insert_once
from aft_api.db.tables import EventRow
from aft_contracts import Event, EventKind

_BEHIND = (
    select(EventRow)
    .where(EventRow.run_id == bindparam("run_id"), EventRow.seq > bindparam("after_seq"))
    .order_by(EventRow.seq)
    .limit(bindparam("most", type_=Integer()))
)


async def record(
    session: AsyncSession,
    run_id: str,
    kind: EventKind,
    message: str,
    *,
    key: str,
    clock: Clock,
    step: int | None = None,
    **details: Any,
) -> bool:
    """Write an event unless `key` has been written for this run; whether it is new."""
    return await insert_once(
        session,
        EventRow,
        run_id=run_id,
        key=f"{kind}:{key}",
        at=clock(),
        kind=kind,
        step=step,
        message=message,
        details=details,
    )


async def list_events(session: AsyncSession, run_id: str, *, after_seq: int, limit: int) -> list[Event]:
    """Events behind `after_seq`, oldest first."""
    rows: Sequence[EventRow] = (
        await session.scalars(_BEHIND, {"run_id": run_id, "after_seq": after_seq, "most": limit})
    ).all()
    return [_event(row) for row in rows]


def _event(row: EventRow) -> Event:
    return Event(
        seq=row.seq,
        run_id=row.run_id,
        at=row.at,
        kind=EventKind(row.kind),
        step=row.step,
        message=row.message,
        details=row.details,
    )
