"""finish: scores and exports what was trained, and closes the run."""

import asyncio

from langgraph.runtime import Runtime

from aft_api.reviews.mending import Failed
from aft_api.reviews.repository import count_decided
from aft_api.runs.events import record
from aft_api.runs.repository import note_run
from aft_api.runs.schedules import latest_schedule
from aft_api.supervisor.asking import ask_to_mend, is_mendable
from aft_api.supervisor.ending import end_run
from aft_api.supervisor.jobs import MAX_ATTEMPTS, JobFailed, patient_job
from aft_api.supervisor.ports import Ports, RunFailed
from aft_api.worker_client import WorkerFailure
from aft_contracts import EventKind, ExportJob, ExportResult, Problem, RunSpec, RunStatus, State

STOP_PATIENCE_S = 60.0
"""How long a stopped run waits for its worker to export what was trained."""


async def finish(state: State, runtime: Runtime[Ports]) -> State:
    """How the run ended; or that it has not, and a human is asked."""
    ports, run_id = runtime.context, state["run_id"]
    stopped = state.get("outcome") == RunStatus.STOPPED
    spec = await ports.spec(run_id)
    if stopped:
        await _export_if_possible(ports, run_id, spec, state)
    else:
        try:
            await _export(ports, run_id, spec, step=state["step"])
        except JobFailed as failure:
            return State(blocked=True, review_id=await _ask(ports, spec, state, failure.problem))
    await _release(ports, run_id)
    outcome = RunStatus.STOPPED if stopped else RunStatus.SUCCEEDED
    await end_run(ports, run_id, outcome)
    return State(blocked=False, outcome=outcome)


async def _export_if_possible(ports: Ports, run_id: str, spec: RunSpec, state: State) -> None:
    """Export what was trained; whoever stops a run is not kept waiting for a worker that cannot."""
    if state.get("step", 0) == 0:
        return
    try:
        async with asyncio.timeout(STOP_PATIENCE_S):
            await _export(ports, run_id, spec, step=state["step"])
            return
    except TimeoutError:
        why = f"the worker did not answer within {STOP_PATIENCE_S:.0f} s."
    except (JobFailed, RunFailed) as failure:
        why = failure.problem.detail
    async with ports.store.sessions.begin() as session:
        await record(
            session, run_id, EventKind.WORKER_NOTE,
            f"Nothing was exported: {why} The checkpoint of step {state['step']} is kept.",
            key="stop-without-export", clock=ports.clock, step=state["step"],
        )  # fmt: skip


async def _ask(ports: Ports, spec: RunSpec, state: State, problem: Problem) -> str:
    """The id of the question whether to try the export again.

    Raises:
        RunFailed: nobody could mend why it failed.
    """
    if not is_mendable(problem):
        raise RunFailed(problem)
    run_id, step = state["run_id"], state["step"]
    async with ports.store.sessions.begin() as session:
        # Named by the answers so far: the same question when this node runs again, another one after the answer.
        number = 1 + await count_decided(session, run_id)
        failed = Failed(
            run_id=run_id,
            job=f"The export of step {step}",
            job_id=f"{run_id}:x:{number}",
            step=step,
            attempts=MAX_ATTEMPTS,
            problem=problem,
        )
        return await ask_to_mend(session, ports, spec, failed)


async def _export(ports: Ports, run_id: str, spec: RunSpec, *, step: int) -> None:
    """Have the worker write what was trained.

    Raises:
        JobFailed, RunFailed, LeaseLost: as `patient_job`.
    """
    async with ports.store.reads() as session:
        schedule = await latest_schedule(session, run_id)
    full = spec.model.lora is None
    job = ExportJob(
        export_id=f"{run_id}:x:{schedule.generation}:{step}:{schedule.version}",  # a job is known by all it was given
        run_id=run_id,
        schedule=schedule,
        step=step,
        adapter=spec.export.adapter and not full,
        merged=spec.export.merged or full,
    )
    result = await patient_job(ports, run_id, "exports", job.export_id, job)
    assert isinstance(result, ExportResult), "another result is judged a misfit"
    written = [path for path in (result.adapter_path, result.merged_path) if path]
    async with ports.store.sessions.begin() as session:
        await note_run(session, run_id, export=result.model_dump(mode="json"))
        await record(
            session, run_id, EventKind.EXPORTED, f"Wrote {', '.join(written) or 'nothing'}.",
            key=job.export_id, clock=ports.clock, step=step, export=result.model_dump(mode="json"),
        )  # fmt: skip


async def _release(ports: Ports, run_id: str) -> None:
    try:
        await ports.worker.release(run_id, ports.fence_token)
    except WorkerFailure:
        return  # a worker that restarted holds nothing; one that is gone holds nothing either
