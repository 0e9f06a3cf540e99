"""Run rows: read and moved."""

from functools import cache
from typing import Any, cast

from sqlalchemy import Table, Update, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.tables import RunRow
from aft_api.runs.errors import RunNotFound
from aft_contracts import MOVES, RunStatus

_RUN = select(RunRow).where(RunRow.run_id == bindparam("run_id")).execution_options(populate_existing=True)
_RUN_TO_CHANGE = _RUN.with_for_update(key_share=True)


async def get_run(session: AsyncSession, run_id: str, *, for_update: bool = False) -> RunRow:
    """The run's row, locked until the transaction ends if asked.

    Raises:
        RunNotFound: there is none.
    """
    row: RunRow | None = await session.scalar(_RUN_TO_CHANGE if for_update else _RUN, {"run_id": run_id})
    if row is None:
        raise RunNotFound(run_id)
    return row


async def find_run(session: AsyncSession, idempotency_key: str) -> RunRow | None:
    """The run that was started under this key, if any."""
    row: RunRow | None = await session.scalar(select(RunRow).where(RunRow.idempotency_key == idempotency_key))
    return row


async def move_run(session: AsyncSession, run_id: str, to: RunStatus, clock: Clock, **facts: Any) -> bool:
    """Move a run to a status that may follow its own; False, and nothing changes, when it may not."""
    row = await get_run(session, run_id, for_update=True)
    if to not in MOVES[RunStatus(row.status)]:
        return False
    row.status, row.updated_at = to, clock()
    for name, value in facts.items():
        setattr(row, name, value)
    return True


async def note_run(session: AsyncSession, run_id: str, **facts: Any) -> None:
    """Write projections (step, generation, problem, …) without a change of status."""
    await session.execute(_note(tuple(facts)), {"of": run_id, **{f"with_{name}": fact for name, fact in facts.items()}})


async def wake_run(session: AsyncSession, run_id: str) -> None:
    """Ask for the run to be driven; a driver that is about to park sees that it must not."""
    await session.execute(
        update(RunRow).where(RunRow.run_id == run_id).values(wants_drive=True, wake_count=RunRow.wake_count + 1)
    )


@cache
def _note(names: tuple[str, ...]) -> Update:
    return (
        update(cast(Table, RunRow.__table__))
        .where(RunRow.run_id == bindparam("of"))
        .values({name: bindparam(f"with_{name}") for name in names})
    )
