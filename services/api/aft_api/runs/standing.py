"""Standing: what planning a run's next window needs to know first, in one question to the store."""

from dataclasses import dataclass

from sqlalchemy import bindparam, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.db.tables import WindowRow
from aft_api.runs.commands import IS_TOLD
from aft_api.runs.schedules import LATEST
from aft_contracts import Schedule

_STANDING = select(
    LATEST.scalar_subquery(),
    exists().where(
        WindowRow.run_id == bindparam("of_run"),
        WindowRow.index == bindparam("index"),
        WindowRow.generation >= bindparam("generation"),
    ),
    IS_TOLD,
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The course of a run, and whether anything but the course decides on its next window."""

    schedule: Schedule
    is_intended: bool
    """Whether a window of the index is on record, of the generation or a later one."""
    is_told: bool
    """Whether a command waits to be carried out."""


async def read_standing(session: AsyncSession, run_id: str, *, generation: int, index: int) -> Standing:
    """Where a run stands whose next window is the one of this index, of the generation or of a branch since."""
    of = {"of_run": run_id, "generation": generation, "index": index}
    body, is_intended, is_told = (await session.execute(_STANDING, of)).one()
    return Standing(schedule=Schedule.model_validate(body or {}), is_intended=is_intended, is_told=is_told)
