"""Runs over HTTP."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi import status as http

from aft_api.dependencies import CallerDep, ClockDep, FleetDep, IdempotencyKey, SettingsDep, StopDep, StoreDep
from aft_api.notify.outgoing import refuse_targets
from aft_api.runs.commands import list_commands
from aft_api.runs.diagnoses import list_diagnoses
from aft_api.runs.events import list_events
from aft_api.runs.repository import get_run
from aft_api.runs.samples import find_samples
from aft_api.runs.schedules import latest_schedule
from aft_api.runs.service import give_command, start_run
from aft_api.runs.view import view_run, view_runs
from aft_api.runs.windows import lineage_steps, list_windows, running_steps
from aft_api.worker_client import SampleQuery
from aft_contracts import (
    BlacklistEntry,
    Checkpoints,
    Command,
    CommandRecord,
    Contract,
    DiagnosisReport,
    Event,
    ReportFormat,
    RunSpec,
    RunStatus,
    RunView,
    SampleOrder,
    SamplesReport,
    StepRecord,
    WindowView,
)

router = APIRouter(tags=["runs"])
RunId = Annotated[str, Path(description="The run's id.", max_length=64)]
LOOK_AGAIN_S = 0.5
MOST_SAMPLES = 10_000_000


class Runs(Contract):
    """A list of runs."""

    runs: tuple[RunView, ...]
    """Newest first."""


class Events(Contract):
    """A list of events."""

    events: tuple[Event, ...]
    """Oldest first."""


class Steps(Contract):
    """A list of steps."""

    steps: tuple[StepRecord, ...]
    """Oldest first, without their samples."""


class Windows(Contract):
    """A list of windows."""

    windows: tuple[WindowView, ...]
    """In dispatch order."""


class Diagnoses(Contract):
    """A list of diagnoses."""

    diagnoses: tuple[DiagnosisReport, ...]
    """Oldest first."""


class Blacklist(Contract):
    """A run's bans."""

    blacklist: tuple[BlacklistEntry, ...]
    """In the order in which they were made; lifted ones say until when they held."""


class Commands(Contract):
    """A page of commands."""

    commands: tuple[CommandRecord, ...]
    """Oldest first, refused ones among them."""


@router.post("/runs", status_code=http.HTTP_201_CREATED)
async def post_run(
    spec: RunSpec,
    store: StoreDep,
    clock: ClockDep,
    fleet: FleetDep,
    settings: SettingsDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> RunView:
    """Start a run."""
    refuse_targets(spec.notify.every_webhook, settings.outgoing_allow)
    await fleet.workers.check(spec)
    run_id = await start_run(store, spec, idempotency_key=idempotency_key, caller=caller, clock=clock)
    fleet.wake()
    return await read_run(run_id, store)


@router.get("/runs")
async def read_runs(
    store: StoreDep,
    status: Annotated[RunStatus | None, Query(description="Only runs with this status.")] = None,
    limit: Annotated[int, Query(description="Most runs to list.", ge=1, le=200)] = 50,
) -> Runs:
    """Runs, newest first."""
    async with store.reads() as session:
        return Runs(runs=tuple(await view_runs(session, status=status, limit=limit)))


@router.get("/runs/{run_id}")
async def read_run(run_id: RunId, store: StoreDep) -> RunView:
    """A run: where it stands, what was changed, what it left behind."""
    async with store.reads() as session:
        return await view_run(session, run_id)


@router.post("/runs/{run_id}/commands", status_code=http.HTTP_202_ACCEPTED)
async def post_command(
    run_id: RunId,
    command: Command,
    store: StoreDep,
    clock: ClockDep,
    fleet: FleetDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> CommandRecord:
    """Tell a run something, or answer its review; it takes effect at the next step boundary."""
    accepted = await give_command(store, run_id, command, command_id=idempotency_key, caller=caller, clock=clock)
    fleet.hear(run_id)
    return accepted


@router.get("/runs/{run_id}/commands")
async def read_commands(
    run_id: RunId,
    store: StoreDep,
    after: Annotated[int, Query(description="Only commands behind this seq.", ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(description="Most commands to list.", ge=1, le=1000)] = 200,
) -> Commands:
    """What a run was told: by whom, through what, when, and what came of it."""
    async with store.reads() as session:
        await get_run(session, run_id)
        return Commands(commands=tuple(await list_commands(session, run_id, after_seq=after, limit=limit)))


@router.get("/runs/{run_id}/events")
async def read_events(
    run_id: RunId,
    store: StoreDep,
    stop: StopDep,
    after: Annotated[int, Query(description="Only events behind this seq.", ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(description="Most events to list.", ge=1, le=1000)] = 200,
    wait_s: Annotated[float, Query(description="How long to wait for the first one.", ge=0, le=30)] = 0.0,
) -> Events:
    """What happened to a run, in order."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        async with store.reads() as session:
            await get_run(session, run_id)
            events = await list_events(session, run_id, after_seq=after, limit=limit)
        if events or stop.is_asked or asyncio.get_running_loop().time() >= deadline:
            return Events(events=tuple(events))
        await stop.sleep(LOOK_AGAIN_S)


@router.get("/runs/{run_id}/steps")
async def read_steps(
    run_id: RunId,
    store: StoreDep,
    after: Annotated[int, Query(description="Only steps behind this one.", ge=-1, lt=2**31)] = -1,
) -> Steps:
    """Loss, gradient norm and fate of each step of the current generation's lineage."""
    async with store.reads() as session:
        run = await get_run(session, run_id)
        schedule = await latest_schedule(session, run_id)
        wanted = max(0, run.step - 1 - after)
        trained = await lineage_steps(session, run_id, schedule, before_step=run.step, at_least=wanted)
        running = await running_steps(session, run_id)
    steps = [step.model_copy(update={"samples": ()}) for step in [*trained, *running] if step.step > after]
    return Steps(steps=tuple(steps))


@router.get("/runs/{run_id}/windows")
async def read_windows(run_id: RunId, store: StoreDep) -> Windows:
    """A run's windows, each with its steps and the ids of their samples."""
    async with store.reads() as session:
        await get_run(session, run_id)
        return Windows(windows=tuple(await list_windows(session, run_id)))


@router.get("/runs/{run_id}/diagnoses")
async def read_diagnoses(run_id: RunId, store: StoreDep) -> Diagnoses:
    """What was wrong, which samples did it, and the replays that prove it."""
    async with store.reads() as session:
        await get_run(session, run_id)
        return Diagnoses(diagnoses=tuple(await list_diagnoses(session, run_id)))


@router.get("/runs/{run_id}/blacklist")
async def read_blacklist(run_id: RunId, store: StoreDep) -> Blacklist:
    """The samples that a run does not load, since which step and on what evidence; lifted bans among them."""
    async with store.reads() as session:
        await get_run(session, run_id)
        return Blacklist(blacklist=(await latest_schedule(session, run_id)).blacklist)


@router.get("/runs/{run_id}/checkpoints")
async def read_checkpoints(
    run_id: RunId,
    fleet: FleetDep,
    verify: Annotated[bool, Query(description="Whether the worker reads every file; that may take minutes.")] = False,
) -> Checkpoints:
    """A run's checkpoints on its worker's disk: finished or not, how large, how old, and whether they are intact."""
    return await fleet.workers.checkpoints(run_id, verify=verify)


@router.get(
    "/runs/{run_id}/samples",
    response_model=SamplesReport,
    responses={200: {"content": {"text/csv": {}, "application/vnd.apache.parquet": {}, "image/png": {}}}},
)
async def read_samples(
    run_id: RunId,
    store: StoreDep,
    fleet: FleetDep,
    order: Annotated[SampleOrder, Query(description="What samples are ranked by.")] = SampleOrder.SUSPICION,
    domain: Annotated[str | None, Query(description="Only samples of this domain.", max_length=64)] = None,
    limit: Annotated[int, Query(description="Most samples to list.", ge=1, le=MOST_SAMPLES)] = 50,
    form: Annotated[ReportFormat, Query(alias="format", description="What the report is.")] = ReportFormat.JSON,
) -> Response:
    """The samples a run has seen, most suspicious first: measures, duplicates, and whether they are banned."""
    async with store.reads() as session:
        known_url = (await get_run(session, run_id)).worker_url
    query = SampleQuery(order=order, domain=domain, limit=limit, form=form)
    return Response(await find_samples(fleet.workers, run_id, known_url, query), media_type=form.media_type)
