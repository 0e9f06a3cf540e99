"""train: dispatches one window, waits for it, and stores what it did."""

import asyncio
from typing import Any

from langgraph.runtime import Runtime
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.db.fence import LeaseLost
from aft_api.reviews.mending import Failed, mending_id_of
from aft_api.reviews.repository import is_open
from aft_api.runs.commands import pending_commands
from aft_api.runs.events import record
from aft_api.runs.repository import note_run
from aft_api.runs.windows import complete_window, fail_window, note_progress
from aft_api.supervisor.asking import ask_to_mend, is_mendable
from aft_api.supervisor.jobs import MAX_ATTEMPTS, JobFailed, pause_after, run_job
from aft_api.supervisor.planning import Place, Planned, plan_window
from aft_api.supervisor.ports import Ports, RunFailed
from aft_api.supervisor.scoring import score
from aft_api.worker_client import WorkerFailure, WorkerRefused
from aft_contracts import (
    EventKind,
    JobStatus,
    JobView,
    Problem,
    State,
    WindowResult,
    WindowSpec,
)


async def train(state: State, runtime: Runtime[Ports]) -> State:
    """Where the loop stands after the next window; the same place when no step is left, or where a human is asked."""
    ports, run_id = runtime.context, state["run_id"]
    spec = await ports.spec(run_id)
    if state.get("window_index", 0) == 0:
        await score(ports, run_id, spec, generation=0, step=0)
    async with ports.store.sessions.begin() as session:
        planned = await plan_window(session, run_id, spec, state, ports.clock)
    ports.known.window = planned.window if isinstance(planned, Planned) else None
    if isinstance(planned, Place):
        return State(blocked=False, generation=planned.generation, step=planned.step, window_id="")
    trained = planned.result or await _train_window(ports, planned)
    if isinstance(trained, str):
        return State(blocked=True, review_id=trained)
    return State(
        blocked=False,
        generation=planned.window.generation,
        step=trained.end_step,
        window_index=planned.window.index + 1,
        window_id=planned.window.window_id,
    )


async def _train_window(ports: Ports, planned: Planned) -> WindowResult | str:
    """What the window did, or the id of the question that its failures lead to."""
    spec, has_begun = planned.window, planned.has_begun
    if planned.attempts:
        asked = mending_id_of(spec.window_id, planned.attempts)
        async with ports.store.reads() as session:
            if await is_open(session, asked):  # this node ran before and was cut off after its transaction
                return asked
    while True:
        try:
            result = await _attempt(ports, spec, has_begun=has_begun)
        except JobFailed as failure:
            has_begun = False  # asked for again it is accepted again, and lost by nobody
            failed = await _fail(ports, spec, failure.problem)
            if isinstance(failed, str):
                return failed
            await pause_after(ports, failed)
            if failure.problem.code == "stale_fence":
                # The run is ours by the store, and by the worker it is somebody's with a newer token. Claimed again it
                # has a newer one too; the attempts are on record, so that this has an end.
                raise LeaseLost(spec.run_id) from failure
            continue
        await _commit(ports, spec, result)
        return result


async def end_window(ports: Ports, spec: WindowSpec, *, has_begun: bool) -> WindowResult | None:
    """What was trained of the window in which a stopped run's drive was cut off, ended at its next step; None where
    that cannot be had.

    Raises:
        LeaseLost, Stopped: as `run_job`.
    """
    try:
        async with asyncio.timeout(ports.settings.job_silence_s):
            await _cancel(ports, spec)
            result = await _attempt(ports, spec, has_begun=has_begun)
    except TimeoutError:
        waited = f"for {ports.settings.job_silence_s:g} s (job_silence_s)"
        problem = _left(spec, f"the worker at {ports.worker.base_url} was waited for in vain, {waited}")
    except (JobFailed, RunFailed) as failure:
        problem = failure.problem
    else:
        await _commit(ports, spec, result)
        return result
    async with ports.store.sessions.begin() as session:
        await _note_failure(session, ports, spec, problem)
    return None


async def _cancel(ports: Ports, spec: WindowSpec) -> None:
    """Have the worker end the window, if it has it.

    Raises:
        JobFailed: it has not, and asked for the window would begin it; or no worker has the run.
    """
    if ports.worker_id is None:
        raise JobFailed(_left(spec, "no worker has the run"))
    try:
        await ports.worker.cancel(spec.window_id, ports.fence_token)
        await ports.worker.get("windows", spec.window_id)
    except WorkerRefused as error:
        raise JobFailed(error.reported) from error
    except WorkerFailure:
        return  # whoever waits for the window asks again


async def _attempt(ports: Ports, spec: WindowSpec, *, has_begun: bool) -> WindowResult:
    """What the window did; `has_begun` says whether a worker has shown that it trains it.

    Raises:
        JobFailed, RunFailed, LeaseLost, Stopped: as `run_job`.
    """
    noted: tuple[JobStatus, int] | None = None

    async def on_view(view: JobView[Any]) -> None:
        nonlocal noted, has_begun
        if view.status is JobStatus.ACCEPTED:
            if has_begun:  # the worker has it now, and trains it again
                raise JobFailed(_lost(ports, spec))
            return  # as the window's row says already; commands were looked for when it was planned
        has_begun = True
        stands = view.status, len(view.progress)
        if stands != noted:
            async with ports.store.sessions.begin() as session:
                is_told = await note_progress(session, spec.run_id, spec.window_id, view)
            noted = stands
        else:
            async with ports.store.reads() as session:
                is_told = bool(await pending_commands(session, spec.run_id))
        if is_told:  # commands hold from the next step boundary: end the window there
            await ports.worker.cancel(spec.window_id, ports.fence_token)

    view = await run_job(ports, spec.run_id, "windows", spec.window_id, spec, on_view=on_view)
    assert isinstance(view.result, WindowResult), "another result is judged a misfit"
    await _refuse_empty(ports, spec, view.result)
    return view.result


async def _refuse_empty(ports: Ports, spec: WindowSpec, result: WindowResult) -> None:
    """A window that was cancelled before its first step is taken only where a command waits for it to end.

    Raises:
        JobFailed: none does: taken as done, such windows could follow each other for ever.
    """
    if result.end_step > spec.start_step:
        return
    async with ports.store.reads() as session:
        if await pending_commands(session, spec.run_id):
            return
    raise JobFailed(
        Problem(
            title="The worker trained nothing.",
            status=502,
            code="window_empty",
            detail=f"The worker at {ports.worker.base_url} cancelled window {spec.window_id} before its first step, "
            "and nobody had asked for that.",
        )
    )


def _lost(ports: Ports, spec: WindowSpec) -> Problem:
    return Problem(
        title="The worker lost the window.",
        status=502,
        code="job_lost",
        detail=f"Window {spec.window_id} had begun, and the worker at {ports.worker.base_url} knew nothing of it when "
        "it was asked again: it was restarted, or another that had begun it was lost. If that happens each time, the "
        "window may be too much for a worker's memory.",
    )


def _left(spec: WindowSpec, why: str) -> Problem:
    return Problem(
        title="A stopped run has left a window behind.",
        status=503,
        code="window_left",
        detail=f"Window {spec.window_id} was under way when the run was stopped, and {why}. "
        f"What was trained before step {spec.start_step} is kept.",
    )


async def _commit(ports: Ports, spec: WindowSpec, result: WindowResult) -> None:
    withheld = sum(not step.applied for step in result.metrics.steps)
    async with ports.store.sessions.begin() as session:
        await complete_window(session, spec.window_id, result, ports.clock)
        await note_run(session, spec.run_id, step=result.end_step, generation=spec.generation)
        await record(
            session, spec.run_id, EventKind.WINDOW_COMMITTED,
            f"Window {spec.index} trained steps {result.start_step} to {result.end_step - 1}"
            + (f"; {withheld} updates were withheld." if withheld else "."),
            key=spec.window_id, clock=ports.clock, step=result.end_step, window_id=spec.window_id,
            checkpoint=result.checkpoint.model_dump(mode="json"),
        )  # fmt: skip
        for number, note in enumerate(result.notes):
            await record(
                session, spec.run_id, EventKind.WORKER_NOTE, note.message,
                key=f"{spec.window_id}:{number}", clock=ports.clock, step=result.start_step, note=note.kind,
            )  # fmt: skip


async def _fail(ports: Ports, spec: WindowSpec, problem: Problem) -> int | str:
    """Record a failed attempt; how many there have been, or the id of the question that the last one leads to.

    Raises:
        RunFailed: it was the last one, and nobody could mend its cause.
    """
    run = await ports.spec(spec.run_id)
    async with ports.store.sessions.begin() as session:
        attempts = await _note_failure(session, ports, spec, problem)
        if attempts % MAX_ATTEMPTS:
            return attempts
        if is_mendable(problem):
            failed = Failed(
                run_id=spec.run_id,
                job=f"Window {spec.index}",
                job_id=spec.window_id,
                step=spec.start_step,
                attempts=attempts,
                problem=problem,
            )
            return await ask_to_mend(session, ports, run, failed)
    raise RunFailed(problem)


async def _note_failure(session: AsyncSession, ports: Ports, spec: WindowSpec, problem: Problem) -> int:
    """Record a failed attempt; how many there have been."""
    attempts = await fail_window(session, spec.window_id, problem)
    allowed = MAX_ATTEMPTS * -(-attempts // MAX_ATTEMPTS)
    await record(
        session, spec.run_id, EventKind.WINDOW_FAILED,
        f"Window {spec.index} failed, attempt {attempts} of {allowed}: {problem.detail}",
        key=f"{spec.window_id}:{attempts}", clock=ports.clock, step=spec.start_step, code=problem.code,
    )  # fmt: skip
    return attempts
