"""Schedules: the run's course, version by version."""

from typing import Any

from sqlalchemy import Select, SQLColumnExpression, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.once import insert_once
from aft_api.db.tables import ScheduleRow
from aft_contracts import Schedule


def newest_of(run_id: SQLColumnExpression[str]) -> Select[dict[str, Any]]:
    """The body of a run's newest schedule; for statements that ask for more, too."""
    return select(ScheduleRow.body).where(ScheduleRow.run_id == run_id).order_by(ScheduleRow.version.desc()).limit(1)


LATEST = newest_of(bindparam("of_run"))


async def latest_schedule(session: AsyncSession, run_id: str) -> Schedule:
    """The schedule that holds now."""
    body = await session.scalar(LATEST, {"of_run": run_id})
    return Schedule.model_validate(body or {})


async def was_applied(session: AsyncSession, run_id: str, cause: str) -> bool:
    """Whether `cause` has changed the schedule already."""
    found = await session.scalar(
        select(ScheduleRow.version).where(ScheduleRow.run_id == run_id, ScheduleRow.cause == cause)
    )
    return found is not None


async def add_schedule(session: AsyncSession, run_id: str, schedule: Schedule, *, cause: str, clock: Clock) -> None:
    """Write the next version; a cause counts once, so that repeating this is harmless."""
    await insert_once(
        session,
        ScheduleRow,
        run_id=run_id,
        version=schedule.version,
        cause=cause,
        body=schedule.model_dump(mode="json"),
        created_at=clock(),
    )
