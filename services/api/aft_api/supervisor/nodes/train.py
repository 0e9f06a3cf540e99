"""train: dispatches one window, waits for it, and stores what it did."""

from typing import Any

from langgraph.runtime import Runtime

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
    spec = planned.window
    if planned.attempts:
        asked = mending_id_of(spec.window_id, planned.attempts)
        async with ports.store.reads() as session:
            if await is_open(session, asked):  # this node ran before and was cut off after its transaction
                return asked
    noted: tuple[JobStatus, int] | None = None
    has_begun = planned.has_begun

    async def on_view(view: JobView[Any]) -> None:
        nonlocal noted, has_begun
        if view.status is JobStatus.ACCEPTED:
            if has_begun:
                has_begun = False  # said once: the worker has it now, and trains it again
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

    while True:
        try:
            view = await run_job(ports, spec.run_id, "windows", spec.window_id, spec, on_view=on_view)
            assert isinstance(view.result, WindowResult), "another result is judged a misfit"
            await _refuse_empty(ports, spec, view.result)
        except JobFailed as failure:
            noted, has_begun = None, False  # asked for again it is accepted again, and lost by nobody
            failed = await _fail(ports, spec, failure.problem)
            if isinstance(failed, str):
                return failed
            await pause_after(ports, failed)
            if failure.problem.code == "stale_fence":
                # The run is ours by the store, and by the worker it is somebody's with a newer token. Claimed again it
                # has a newer one too; the attempts are on record, so that this has an end.
                raise LeaseLost(spec.run_id) from failure
            continue
        await _commit(ports, spec, view.result)
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
        attempts = await fail_window(session, spec.window_id, problem)
        allowed = MAX_ATTEMPTS * -(-attempts // MAX_ATTEMPTS)
        await record(
            session, spec.run_id, EventKind.WINDOW_FAILED,
            f"Window {spec.index} failed, attempt {attempts} of {allowed}: {problem.detail}",
            key=f"{spec.window_id}:{attempts}", clock=ports.clock, step=spec.start_step, code=problem.code,
        )  # fmt: skip
        if attempts < allowed:
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
