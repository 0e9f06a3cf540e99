"""Targets of messages: disabled when they are gone for good, paused when they ask for it."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.once import insert_once
from aft_api.db.tables import TargetRow
from aft_api.notify.address import shown, target_id_of
from aft_api.notify.errors import TargetNotFound
from aft_contracts import NotificationTarget


async def disabled_reason(session: AsyncSession, channel: str, address: str) -> str | None:
    """Why nothing is sent there; None when something may be."""
    row = await session.get(TargetRow, target_id_of(channel, address))
    if row is None or row.disabled_at is None:
        return None
    return f"the target is disabled: {row.reason}; `aft notifications enable {row.target_id}` enables it"


async def disable(session: AsyncSession, channel: str, address: str, reason: str, clock: Clock) -> None:
    """Send nothing there any more."""
    await _change(session, channel, address, disabled_at=clock(), reason=reason)


async def pause(session: AsyncSession, store: Store, channel: str, address: str, seconds: float, reason: str) -> None:
    """Send nothing there for so long."""
    await _change(session, channel, address, paused_until=store.now_s + seconds, reason=reason)


async def enable(session: AsyncSession, target_id: str) -> None:
    """Send there again.

    Raises:
        TargetNotFound: no target with this id has been disabled or paused.
    """
    row = await session.get(TargetRow, target_id)
    if row is None:
        raise TargetNotFound(target_id)
    row.disabled_at, row.paused_until, row.reason = None, 0.0, ""


async def list_targets(session: AsyncSession, store: Store) -> list[NotificationTarget]:
    """Those that are disabled or paused."""
    rows = await session.execute(select(TargetRow, TargetRow.paused_until - store.now_s).order_by(TargetRow.address))
    return [
        NotificationTarget(
            target_id=row.target_id,
            channel=row.channel,
            target=shown(row.channel, row.address),
            disabled_at=row.disabled_at,
            reason=row.reason,
            paused_for_s=max(paused_for_s, 0.0) or None,
        )
        for row, paused_for_s in rows
        if row.disabled_at is not None or paused_for_s > 0
    ]


async def _change(session: AsyncSession, channel: str, address: str, **values: object) -> None:
    target_id = target_id_of(channel, address)
    await insert_once(
        session, TargetRow, target_id=target_id, channel=channel, address=address, reason="", paused_until=0.0
    )
    await session.execute(update(TargetRow).where(TargetRow.target_id == target_id).values(**values))
