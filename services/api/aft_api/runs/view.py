"""A run as clients see it. Asked for more often than anything else, so it takes few questions to the store."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.db.json_last import json_last
from aft_api.db.tables import RunRow, ScheduleRow, WindowRow
from aft_api.runs.errors import RunNotFound
from aft_api.runs.evaluations import list_evaluations
from aft_api.runs.windows import RECORDED, last_step
from aft_api.workers.queue import place_in_queue
from aft_contracts import (
    ENDED,
    ExportResult,
    JobStatus,
    Problem,
    RunSpec,
    RunStatus,
    RunView,
    Schedule,
    StepRecord,
)

_SCHEDULE = (
    select(ScheduleRow.body)
    .where(ScheduleRow.run_id == RunRow.run_id)
    .order_by(ScheduleRow.version.desc())
    .limit(1)
    .scalar_subquery()
)
_RUNNING = (
    select(json_last(WindowRow.progress))
    .where(WindowRow.run_id == RunRow.run_id, WindowRow.status.not_in(ENDED))
    .order_by(WindowRow.index.desc())
    .limit(1)
    .scalar_subquery()
)
_COMMITTED = (
    select(json_last(RECORDED))
    .where(
        WindowRow.run_id == RunRow.run_id,
        WindowRow.generation == RunRow.generation,
        WindowRow.status == JobStatus.COMMITTED,
        WindowRow.end_step <= RunRow.step,
    )
    .order_by(WindowRow.index.desc())
    .limit(1)
    .scalar_subquery()
)
_SEEN = select(RunRow, _SCHEDULE.label("schedule"), _RUNNING.label("running"), _COMMITTED.label("committed"))
_ONE = _SEEN.where(RunRow.run_id == bindparam("run_id"))


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A run's row, its schedule, and its last steps."""

    row: RunRow
    schedule: Schedule
    running: StepRecord | None
    """The last finished one of the window that is being trained."""
    committed: StepRecord | None
    """The last one that was committed in the generation of the row."""

    @property
    def last(self) -> StepRecord | None:
        """The last finished step, if it is among these: the run may have gone back since the row was written."""
        generation, _ = self.schedule.lineage(self.row.step)[0]
        return self.running or (self.committed if generation == self.row.generation else None)


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


def _seen(row: RunRow, schedule: dict[str, object] | None, running: str | None, committed: str | None) -> _Seen:
    return _Seen(
        row=row,
        schedule=Schedule.model_validate(schedule or {}),
        running=None if running is None else StepRecord.model_validate_json(running),
        committed=None if committed is None else StepRecord.model_validate_json(committed),
    )


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
