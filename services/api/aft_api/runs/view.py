"""A run as clients see it. Asked for more often than anything else, so it takes few questions to the store."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.db.json_last import json_last
from aft_api.db.tables import RunRow, WindowRow
from aft_api.runs.errors import RunNotFound
from aft_api.runs.evaluations import list_evaluations
from aft_api.runs.schedules import newest_of
from aft_api.runs.windows import last_step, last_step_of, of_window_under_way
from aft_api.workers.queue import place_in_queue
from aft_contracts import (
    ExportResult,
    Problem,
    RunSpec,
    RunStatus,
    RunView,
    Schedule,
    StepRecord,
)

_SEEN = select(
    RunRow,
    newest_of(RunRow.run_id).scalar_subquery().label("schedule"),
    of_window_under_way(json_last(WindowRow.progress), RunRow.run_id).scalar_subquery().label("running"),
    last_step_of(RunRow.run_id, RunRow.generation, RunRow.step).scalar_subquery().label("committed"),
)
_ONE = _SEEN.where(RunRow.run_id == bindparam("run_id"))


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A run's row, its schedule, and its last steps."""

    row: RunRow
    schedule: Schedule
    running: StepRecord | None
    """The last finished one of the window that is being trained."""
    last: StepRecord | None
    """The last finished one, unless the run has gone back since: then it must be looked for along the lineage."""


async def view_run(session: AsyncSession, run_id: str) -> RunView:
    """The run as of its last finished step.

    Raises:
        RunNotFound: there is none.
    """
    found = (await session.execute(_ONE, {"run_id": run_id})).one_or_none()
    if found is None:
        raise RunNotFound(run_id)
    return await _view(session, _seen(*found))


async def view_runs(session: AsyncSession, *, status: RunStatus | None, limit: int) -> list[RunView]:
    """Runs, newest first."""
    query = _SEEN.order_by(RunRow.created_at.desc(), RunRow.run_id).limit(limit)
    if status is not None:
        query = query.where(RunRow.status == status)
    return [await _view(session, _seen(*found)) for found in (await session.execute(query)).all()]


def _seen(row: RunRow, body: dict[str, object] | None, running: str | None, committed: str | None) -> _Seen:
    schedule = Schedule.model_validate(body or {})
    generation, _ = schedule.lineage(row.step)[0]
    under_way = _step(running)
    return _Seen(
        row=row,
        schedule=schedule,
        running=under_way,
        last=under_way or (_step(committed) if generation == row.generation else None),
    )


def _step(text: str | None) -> StepRecord | None:
    return None if text is None else StepRecord.model_validate_json(text)


async def _view(session: AsyncSession, seen: _Seen) -> RunView:
    row = seen.row
    latest = seen.last or await last_step(session, row.run_id, seen.schedule, before_step=row.step)
    return RunView(
        run_id=row.run_id,
        name=row.name,
        status=RunStatus(row.status),
        worker_id=row.worker_id,
        queue_place=await place_in_queue(session, row),
        spec=RunSpec.model_validate(row.spec),
        schedule=seen.schedule,
        step=seen.running.step + 1 if seen.running else row.step,
        generation=row.generation,
        loss=None if latest is None else latest.loss,
        grad_norm=None if latest is None else latest.grad_norm,
        review_id=row.review_id,
        evaluations=tuple(await list_evaluations(session, row.run_id)),
        export=None if row.export is None else ExportResult.model_validate(row.export),
        problem=None if row.problem is None else Problem.model_validate(row.problem),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
