"""curriculum: scores the held-out domains now and then, and answers forgetting with another mix."""

from langgraph.runtime import Runtime

from aft_api.healing.course import apply_command, weights_at
from aft_api.healing.evaluation_drop import find_drops
from aft_api.healing.mix import adapt_mix, answerable_domains
from aft_api.healing.rate_jump import scale_given_back
from aft_api.runs.diagnoses import diagnosis_id_of, get_diagnosis, last_rate_repair
from aft_api.runs.evaluations import lineage_evaluations, list_evaluations
from aft_api.runs.events import record
from aft_api.runs.schedules import add_schedule, latest_schedule, was_applied
from aft_api.supervisor.alarms import raise_alarms
from aft_api.supervisor.evidence import gather
from aft_api.supervisor.ports import Ports
from aft_api.supervisor.scoring import score
from aft_contracts import Anomaly, EventKind, RepairKind, RunSpec, SetMix, State


async def curriculum(state: State, runtime: Runtime[Ports]) -> State:
    """Windows since the last evaluation: zero when one was made just now."""
    ports, run_id = runtime.context, state["run_id"]
    spec = await ports.spec(run_id)
    await _give_rate_back(ports, state, spec)
    waited = state.get("windows_since_evaluation", 0) + 1
    ends = state["step"] >= spec.optim.steps
    if waited < spec.curriculum.every_windows and not ends:
        return State(windows_since_evaluation=waited, complete=False)
    evaluation_id = await score(ports, run_id, spec, generation=state["generation"], step=state["step"])
    fallen = await _fallen(ports, state, spec) if evaluation_id is not None else ()
    if fallen:
        return State(windows_since_evaluation=0, complete=False, **await raise_alarms(ports, state, fallen))
    if evaluation_id is not None and spec.curriculum.adapt and not ends:
        await _adapt(ports, run_id, spec, evaluation_id, step=state["step"])
    return State(windows_since_evaluation=0, complete=ends)


async def _fallen(ports: Ports, state: State, spec: RunSpec) -> tuple[Anomaly, ...]:
    """What the evaluation that was just made gave away; nothing where the last window has its diagnosis already."""
    run_id, window_id = state["run_id"], state.get("window_id")
    if not window_id:
        return ()  # no step was trained since the last judgment, and that was for a human to answer
    async with ports.store.reads() as session:
        if await get_diagnosis(session, diagnosis_id_of(window_id)) is not None:
            return ()
        schedule = await latest_schedule(session, run_id)
        evaluations = await lineage_evaluations(session, run_id, schedule, step=state["step"])
    return find_drops(
        evaluations,
        spec.detection,
        armed_from=schedule.armed_from(state["step"]),
        answerable=answerable_domains(weights_at(schedule, state["step"], spec), spec.curriculum),
    )


async def _give_rate_back(ports: Ports, state: State, spec: RunSpec) -> None:
    """Undo a repair's lower rate once the jump that it answered is over, so that the run does not crawl to its end."""
    made = state.get("repair") or {}
    if not state.get("window_id") or (made.get("lr_factor") is None and made.get("kind") != RepairKind.ESCALATE):
        return  # what a human agreed to instead of an escalation is on record
    async with ports.store.reads() as session:
        answered = await last_rate_repair(session, state["run_id"])
    if answered is None:
        return
    evidence = await gather(ports, state)
    cause = f"jump_over:{answered.diagnosis_id}"
    async with ports.store.sessions.begin() as session:
        if await was_applied(session, state["run_id"], cause):
            return
        schedule = await latest_schedule(session, state["run_id"])
        scale = scale_given_back(
            schedule,
            answered.repair,
            (*evidence.history, *evidence.steps),
            spec.optim,
            spec.detection,
            jump_step=answered.jump_step,
        )
        if scale is None:
            return
        step = state["step"]
        changed = schedule.with_rate(scale, step=step)
        await add_schedule(session, state["run_id"], changed, cause=cause, clock=ports.clock)
        await record(
            session, state["run_id"], EventKind.RATE_GIVEN_BACK,
            f"The jump of the learning rate is over: from step {step} on its scale is {scale:g} again.",
            key=cause, clock=ports.clock, step=step, scale=scale,
        )  # fmt: skip


async def _adapt(ports: Ports, run_id: str, spec: RunSpec, evaluation_id: str, *, step: int) -> None:
    cause = f"curriculum:{evaluation_id}"
    async with ports.store.sessions.begin() as session:
        if await was_applied(session, run_id, cause):
            return
        schedule = await latest_schedule(session, run_id)
        now = weights_at(schedule, step, spec)
        weights = adapt_mix(await list_evaluations(session, run_id), now, spec.curriculum)
        if weights is None:
            return
        changed = apply_command(schedule, SetMix(weights=weights), step=step, cause=cause, spec=spec)
        await add_schedule(session, run_id, changed, cause=cause, clock=ports.clock)
        shares = ", ".join(f"{name} {weight:.3g}" for name, weight in sorted(weights.items()))
        await record(
            session, run_id, EventKind.MIX_CHANGED,
            f"From step {step} the mix is {shares}: a held-out domain got worse.",
            key=evaluation_id, clock=ports.clock, step=step, before=now, after=weights,
        )  # fmt: skip
