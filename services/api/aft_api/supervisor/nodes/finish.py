"""finish: scores and exports what was trained, and closes the run."""

import asyncio

from langgraph.runtime import Runtime

from aft_api.notify.outbox import announce, announce_withdrawn
from aft_api.reviews.repository import withdraw_reviews
from aft_api.runs.commands import settle_left
from aft_api.runs.events import record
from aft_api.runs.repository import move_run, note_run
from aft_api.runs.schedules import latest_schedule
from aft_api.supervisor.jobs import JobFailed, patient_job
from aft_api.supervisor.ports import Ports, RunFailed
from aft_api.worker_client import WorkerFailure
from aft_contracts import EventKind, ExportJob, ExportResult, RunSpec, RunStatus, State

STOP_PATIENCE_S = 60.0
"""How long a stopped run waits for its worker to export what was trained."""


async def finish(state: State, runtime: Runtime[Ports]) -> State:
    """How the run ended."""
    ports, run_id = runtime.context, state["run_id"]
    stopped = state.get("outcome") == RunStatus.STOPPED
    spec = await ports.spec(run_id)
    if stopped:
        await _export_if_reachable(ports, run_id, spec, state)
    else:
        await _export(ports, run_id, spec, step=state["step"])
    await _release(ports, run_id)
    await _close(ports, run_id, RunStatus.STOPPED if stopped else RunStatus.SUCCEEDED, state)
    return State(outcome=RunStatus.STOPPED if stopped else RunStatus.SUCCEEDED)


async def _export_if_reachable(ports: Ports, run_id: str, spec: RunSpec, state: State) -> None:
    if state.get("step", 0) == 0:
        return
    try:
        async with asyncio.timeout(STOP_PATIENCE_S):
            await _export(ports, run_id, spec, step=state["step"])
    except TimeoutError:
        async with ports.store.sessions.begin() as session:
            await record(
                session, run_id, EventKind.WORKER_NOTE,
                f"Nothing was exported: the worker did not answer within {STOP_PATIENCE_S:.0f} s. "
                f"The checkpoint of step {state['step']} is kept.",
                key="stop-without-export", clock=ports.clock, step=state["step"],
            )  # fmt: skip


async def _export(ports: Ports, run_id: str, spec: RunSpec, *, step: int) -> None:
    async with ports.store.reads() as session:
        schedule = await latest_schedule(session, run_id)
    full = spec.model.lora is None
    job = ExportJob(
        export_id=f"{run_id}:x:{schedule.generation}:{step}",
        run_id=run_id,
        schedule=schedule,
        step=step,
        adapter=spec.export.adapter and not full,
        merged=spec.export.merged or full,
    )
    try:
        result = await patient_job(ports, run_id, "exports", job.export_id, job)
    except JobFailed as failure:
        raise RunFailed(failure.problem) from failure
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


async def _close(ports: Ports, run_id: str, status: RunStatus, state: State) -> None:
    kind = EventKind.RUN_STOPPED if status is RunStatus.STOPPED else EventKind.RUN_SUCCEEDED
    async with ports.store.sessions.begin() as session:
        if await move_run(session, run_id, status, ports.clock, wants_drive=False, problem=None, review_id=None):
            await announce_withdrawn(session, await withdraw_reviews(session, run_id), clock=ports.clock)
            await settle_left(session, run_id, status, step=state.get("step", 0), clock=ports.clock)
            text = f"The run {status} at step {state.get('step', 0)}."
            await record(session, run_id, kind, text, key="end", clock=ports.clock, step=state.get("step", 0))
            await announce(session, run_id, kind, text, key="end", clock=ports.clock)
