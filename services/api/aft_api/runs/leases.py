"""Leases: who drives a run, until when by the database's clock, and with which fence token."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, tuple_, update

from aft_api.db.engine import Store
from aft_api.db.tables import RunRow
from aft_contracts import FINISHED


async def claim_runs(
    store: Store, owner: str, *, lease_s: float, limit: int, but: Collection[str] = ()
) -> dict[str, int]:
    """Runs that want to be driven and that nobody holds, now ours: run id to fence token, longest waiting first.

    `but` are runs that are not wanted, free or not.
    """
    free = (
        select(RunRow.run_id)
        .where(
            RunRow.wants_drive,
            RunRow.status.not_in(FINISHED),
            # A run that waits for a worker is driven only when somebody has told it something.
            or_(RunRow.worker_id.is_not(None), RunRow.wake_count != RunRow.queue_seen),
            RunRow.lease_expires_at < store.now_s,
            RunRow.run_id.not_in(but),
        )
        .order_by(RunRow.updated_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    async with store.sessions.begin() as session:
        # Two statements and one transaction: what the first has locked nobody else sees as free. As one statement,
        # Postgres might look for free runs more than once and go beyond the limit.
        found = (await session.scalars(free)).all()
        if not found:
            return {}
        claimed = await session.execute(
            update(RunRow)
            .where(RunRow.run_id.in_(found))
            .values(lease_owner=owner, lease_token=RunRow.lease_token + 1, lease_expires_at=store.now_s + lease_s)
            .returning(RunRow.run_id, RunRow.lease_token)
        )
        return {row.run_id: row.lease_token for row in claimed}


async def renew_leases(store: Store, owner: str, held: Mapping[str, int], *, lease_s: float) -> set[str]:
    """Prolong our leases, run id to token, in one statement; the ids that are still ours.

    One that has expired and that nobody has claimed since is still ours: its token is the newest.
    """
    async with store.sessions.begin() as session:
        kept = await session.scalars(
            update(RunRow)
            .where(RunRow.lease_owner == owner, tuple_(RunRow.run_id, RunRow.lease_token).in_(list(held.items())))
            .values(lease_expires_at=store.now_s + lease_s)
            .returning(RunRow.run_id)
        )
        return set(kept)


async def release_lease(store: Store, run_id: str, token: int) -> None:
    """Give the run back at once; nothing happens if it is no longer ours."""
    async with store.sessions.begin() as session:
        await session.execute(
            update(RunRow)
            .where(RunRow.run_id == run_id, RunRow.lease_token == token)
            .values(lease_owner=None, lease_expires_at=0.0)
        )


async def release_all(store: Store, owner: str) -> None:
    """Give back whatever the owner still holds."""
    async with store.sessions.begin() as session:
        await session.execute(
            update(RunRow).where(RunRow.lease_owner == owner).values(lease_owner=None, lease_expires_at=0.0)
        )


async def forget_owners(store: Store) -> None:
    """Give back every lease: whoever held one is known to have ended."""
    async with store.sessions.begin() as session:
        await session.execute(
            update(RunRow).where(RunRow.lease_owner.is_not(None)).values(lease_owner=None, lease_expires_at=0.0)
        )


async def park_run(store: Store, run_id: str, token: int, *, wake_count: int) -> bool:
    """Stop driving until somebody wakes the run; False if it was woken since `wake_count` was read."""
    async with store.sessions.begin() as session:
        outcome = await session.execute(
            update(RunRow)
            .where(RunRow.run_id == run_id, RunRow.lease_token == token, RunRow.wake_count == wake_count)
            .values(wants_drive=False)
        )
        return cast(CursorResult[Any], outcome).rowcount == 1
