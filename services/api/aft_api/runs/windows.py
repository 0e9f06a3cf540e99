"""Windows: intended before they are dispatched, completed once, read along a lineage."""

from collections.abc import Collection
from typing import TypeVar, cast

from pydantic import TypeAdapter
from sqlalchemy import Select, SQLColumnExpression, String, Table, bindparam, case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.json_last import json_last
from aft_api.db.json_without_samples import json_without_samples
from aft_api.db.once import insert_once
from aft_api.db.tables import WindowRow
from aft_api.runs.commands import IS_TOLD
from aft_contracts import (
    ENDED,
    JobStatus,
    JobView,
    Problem,
    Schedule,
    StepRecord,
    WindowResult,
    WindowSpec,
    WindowView,
    digest_of,
)

T = TypeVar("T")
STEPS: TypeAdapter[tuple[StepRecord, ...]] = TypeAdapter(tuple[StepRecord, ...])

# Built once, because SQLAlchemy takes as long to build a statement as to send it.
WINDOWS = cast(Table, WindowRow.__table__)
_SPEC = select(WindowRow.spec).where(WindowRow.window_id == bindparam("window_id"))
_NOTE = (
    update(WINDOWS)
    .where(WindowRow.window_id == bindparam("of"), WindowRow.status != JobStatus.COMMITTED)
    .values(status=bindparam("as_status"), progress=bindparam("with_progress"))
    .returning(IS_TOLD)
)
_COMPLETE = (
    update(WINDOWS)
    .where(WindowRow.window_id == bindparam("of"), WindowRow.status != JobStatus.COMMITTED)
    .values(
        status=JobStatus.COMMITTED,
        end_step=bindparam("with_end_step"),
        result=bindparam("with_result"),
        progress=[],
        problem=None,
        ended_at=bindparam("at"),
    )
)
_RECORDED = WindowRow.result["metrics"]["steps"]
"""The steps of a window that was committed, as JSON."""
_STEPS = (
    select(
        case(
            (WindowRow.end_step > bindparam("samples_from"), _RECORDED.as_string()),
            else_=json_without_samples(_RECORDED),
        )
    )
    .where(
        WindowRow.run_id == bindparam("run_id"),
        WindowRow.generation == bindparam("generation"),
        WindowRow.status == JobStatus.COMMITTED,
        WindowRow.start_step < bindparam("reach"),
        WindowRow.end_step > bindparam("first"),
    )
    .order_by(WindowRow.index)
)


def of_window_under_way(what: SQLColumnExpression[T], run_id: SQLColumnExpression[str]) -> Select[T]:
    """A fact of the window that a run trains."""
    return (
        select(what)
        .where(WindowRow.run_id == run_id, WindowRow.status.not_in(ENDED))
        .order_by(WindowRow.index.desc())
        .limit(1)
    )


_PROGRESS = of_window_under_way(WindowRow.progress, bindparam("run_id", type_=String()))


def last_step_of(
    run_id: SQLColumnExpression[str], generation: SQLColumnExpression[int], reach: SQLColumnExpression[int]
) -> Select[str]:
    """The last step, as JSON, that a generation of a run committed up to step `reach`."""
    return (
        select(json_last(_RECORDED))
        .where(
            WindowRow.run_id == run_id,
            WindowRow.generation == generation,
            WindowRow.status == JobStatus.COMMITTED,
            WindowRow.end_step <= reach,
        )
        .order_by(WindowRow.index.desc())
        .limit(1)
    )


_LAST_STEP = last_step_of(bindparam("run_id"), bindparam("generation"), bindparam("reach"))


async def get_window(session: AsyncSession, window_id: str) -> WindowRow | None:
    """The window's row, or None before it was intended."""
    return await session.get(WindowRow, window_id, populate_existing=True)


async def get_window_spec(session: AsyncSession, window_id: str) -> WindowSpec:
    """What the window was to train; it must have been intended."""
    return WindowSpec.model_validate((await session.scalars(_SPEC, {"window_id": window_id})).one())


async def list_windows(session: AsyncSession, run_id: str, *, from_index: int = 0) -> list[WindowView]:
    """Windows of a run from `from_index` on, in dispatch order."""
    rows = await session.scalars(
        select(WindowRow).where(WindowRow.run_id == run_id, WindowRow.index >= from_index).order_by(WindowRow.index)
    )
    return [_view(row) for row in rows]


async def find_windows(session: AsyncSession, window_ids: Collection[str]) -> list[WindowView]:
    """The windows of these ids, in dispatch order."""
    if not window_ids:
        return []
    rows = await session.scalars(select(WindowRow).where(WindowRow.window_id.in_(window_ids)).order_by(WindowRow.index))
    return [_view(row) for row in rows]


async def intend_window(session: AsyncSession, spec: WindowSpec, clock: Clock) -> None:
    """Write the intent to train a window, before anybody is asked to."""
    await insert_once(
        session,
        WindowRow,
        window_id=spec.window_id,
        run_id=spec.run_id,
        generation=spec.generation,
        index=spec.index,
        start_step=spec.start_step,
        spec=spec.model_dump(mode="json"),
        spec_hash=digest_of(spec),
        status=JobStatus.ACCEPTED,
        attempts=0,
        progress=[],
        created_at=clock(),
    )


async def note_progress(session: AsyncSession, run_id: str, window_id: str, view: JobView[WindowResult]) -> bool:
    """Show how far the window is, tried for the first time or again; whether the run was told something meanwhile.

    A window that has its result is left as it is, and nothing is said of commands.
    """
    progress = [step.model_dump(mode="json") for step in view.progress]
    noted = {"of_run": run_id, "of": window_id, "as_status": view.status, "with_progress": progress}
    return bool(await session.scalar(_NOTE, noted))


async def complete_window(session: AsyncSession, window_id: str, result: WindowResult, clock: Clock) -> None:
    """Store what the window did; the first result wins."""
    await session.execute(
        _COMPLETE,
        {
            "of": window_id,
            "with_end_step": result.end_step,
            "with_result": result.model_dump(mode="json"),
            "at": clock(),
        },
    )


async def fail_window(session: AsyncSession, window_id: str, problem: Problem) -> int:
    """Record a failed attempt; how many there have been."""
    attempts = await session.scalar(
        update(WindowRow)
        .where(WindowRow.window_id == window_id)
        .values(
            status=JobStatus.FAILED,
            attempts=WindowRow.attempts + 1,
            problem=problem.model_dump(mode="json"),
            progress=[],
        )
        .returning(WindowRow.attempts)
    )
    return int(attempts or 0)


async def checkpoint_steps(session: AsyncSession, run_id: str, schedule: Schedule, step: int) -> list[int]:
    """Steps up to `step` at which a window of the schedule's lineage ended in a checkpoint, oldest first."""
    reach = dict(schedule.lineage(step))
    ends = await session.execute(
        select(WindowRow.generation, WindowRow.end_step).where(
            WindowRow.run_id == run_id,
            WindowRow.generation.in_(reach),
            WindowRow.status == JobStatus.COMMITTED,
        )
    )
    return sorted({0, *(end for generation, end in ends if end is not None and end <= reach[generation])})


async def lineage_steps(
    session: AsyncSession, run_id: str, schedule: Schedule, *, before_step: int, at_least: int, samples_from: int = 0
) -> list[StepRecord]:
    """The last steps before `before_step` on the schedule's lineage, oldest first; with their samples, but for windows
    that ended before `samples_from`.

    Whole windows are read, back to the one that holds the first of `at_least` steps, or to the run's beginning.
    """
    first = before_step - at_least
    steps: list[StepRecord] = []
    for generation, reach in schedule.lineage(before_step):
        where = {
            "run_id": run_id, "generation": generation, "reach": reach, "first": first, "samples_from": samples_from,
        }  # fmt: skip
        rows = await session.scalars(_STEPS, where)
        # As text, because pydantic reads JSON twice as fast as the driver and pydantic one after the other.
        recorded = [record for text in rows for record in STEPS.validate_json(text)]
        steps = [*(record for record in recorded if record.step < reach), *steps]
        if len(steps) >= at_least:
            break
    return steps


async def last_step(session: AsyncSession, run_id: str, schedule: Schedule, *, before_step: int) -> StepRecord | None:
    """The last step before `before_step` on the schedule's lineage; a branch begins where a window ended."""
    for generation, reach in schedule.lineage(before_step):
        found = await session.scalar(_LAST_STEP, {"run_id": run_id, "generation": generation, "reach": reach})
        if found is not None:
            return StepRecord.model_validate_json(found)
    return None


async def is_training(session: AsyncSession, run_id: str) -> bool:
    """Whether a window of the run is at a worker."""
    under_way = select(WindowRow.window_id).where(WindowRow.run_id == run_id, WindowRow.status.not_in(ENDED)).limit(1)
    return await session.scalar(under_way) is not None


async def running_steps(session: AsyncSession, run_id: str) -> list[StepRecord]:
    """Finished steps of the window that is being trained."""
    progress = await session.scalar(_PROGRESS, {"run_id": run_id})
    return [StepRecord.model_validate(step) for step in progress or []]


def _view(row: WindowRow) -> WindowView:
    spec = WindowSpec.model_validate(row.spec)
    return WindowView(
        window_id=row.window_id,
        run_id=row.run_id,
        generation=row.generation,
        index=row.index,
        start_step=row.start_step,
        num_steps=spec.num_steps,
        status=JobStatus(row.status),
        result=None if row.result is None else WindowResult.model_validate(row.result),
        problem=None if row.problem is None else Problem.model_validate(row.problem),
    )
