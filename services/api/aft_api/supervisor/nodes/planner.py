"""planner: picks one repair, and either makes it or asks a human."""

from collections.abc import Sequence

from langgraph.runtime import Runtime
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.healing.course import apply_repair
from aft_api.healing.planner import Course, IncidentHistory, plan_repair
from aft_api.healing.probation import probation_ends
from aft_api.reviews.question import PICTURE_STEPS, Moment, review_id_of, write_question
from aft_api.reviews.repository import database_now
from aft_api.runs.diagnoses import choose_repair, chosen_repair, earlier_repairs, get_diagnosis, list_diagnoses
from aft_api.runs.events import record
from aft_api.runs.repository import get_run
from aft_api.runs.schedules import add_schedule, latest_schedule
from aft_api.runs.windows import checkpoint_steps, lineage_steps
from aft_api.supervisor.asking import put_question
from aft_api.supervisor.ports import Ports
from aft_api.supervisor.probation import fail_probations
from aft_contracts import (
    DiagnosisReport,
    EventKind,
    Repair,
    RepairKind,
    RunSpec,
    Schedule,
    State,
)


async def planner(state: State, runtime: Runtime[Ports]) -> State:
    """The repair; and, when a human must be asked, the review that asks."""
    ports, run_id, diagnosis_id = runtime.context, state["run_id"], state["diagnosis_id"]
    async with ports.store.sessions.begin() as session:
        chosen = await chosen_repair(session, diagnosis_id)
        if chosen is not None:  # this node ran before and was cut off after its transaction
            return _position(chosen, diagnosis_id)
        spec = RunSpec.model_validate((await get_run(session, run_id)).spec)
        schedule = await latest_schedule(session, run_id)
        report = await get_diagnosis(session, diagnosis_id)
        assert report is not None, "forensic wrote the diagnosis before this node began"
        vain = await fail_probations(session, ports, report, spec, schedule, step=state["step"])
        repair = plan_repair(
            report,
            await _incident_history(session, report, schedule, vain),
            spec.repair,
            course=await _course(session, run_id, spec, schedule, step=state["step"]),
        )
        cause = f"repair:{diagnosis_id}"
        changed = schedule
        if repair.kind not in (RepairKind.ESCALATE, RepairKind.CONTINUE):
            changed = apply_repair(
                schedule, repair, step=state["step"], cause=cause, spec=spec.optim, diagnosis_id=diagnosis_id
            )
            await add_schedule(session, run_id, changed, cause=cause, clock=ports.clock)
        ends_step = probation_ends(report, repair, spec, changed, step=state["step"])
        await choose_repair(session, diagnosis_id, repair, ends_step=ends_step)
        await _record(session, ports, report, repair, step=state["step"])
        if repair.kind is RepairKind.ESCALATE:
            await _ask_human(session, ports, spec, report, repair, schedule, step=state["step"])
    return _position(repair, diagnosis_id)


def _position(repair: Repair, diagnosis_id: str) -> State:
    return State(
        repair=repair.model_dump(mode="json", exclude={"proposal"}),
        review_id=review_id_of(diagnosis_id),
        on_probation=True,
    )


async def _course(session: AsyncSession, run_id: str, spec: RunSpec, schedule: Schedule, *, step: int) -> Course:
    return Course(
        step=step,
        clip_norm=schedule.clip_at(step) or spec.optim.clip_norm,
        checkpoint_steps=tuple(await checkpoint_steps(session, run_id, schedule, step)),
        probation_steps=spec.checkpoint.probation_steps,
    )


async def _incident_history(
    session: AsyncSession, report: DiagnosisReport, schedule: Schedule, vain: Sequence[Repair]
) -> IncidentHistory:
    first_bad_step = min(anomaly.step for anomaly in report.anomalies)
    earlier = await earlier_repairs(session, report.run_id, report.diagnosis_id)
    repairs = [(step, repair) for step, repair in earlier if repair.kind is not RepairKind.CONTINUE]
    domain_of = {
        suspect.sample_id: suspect.domain
        for diagnosis in await list_diagnoses(session, report.run_id)
        for suspect in diagnosis.suspects
    }
    sizes = {name: int(size["rows"]) for name, size in ((await get_run(session, report.run_id)).domains or {}).items()}
    return IncidentHistory(
        attempts=max(len(vain), sum(step == first_bad_step for step, _ in repairs)),
        vain=tuple(vain),
        repair_steps=tuple(step for step, _ in repairs),
        blacklisted={name: _banned_in(name, schedule, domain_of) for name in sizes},
        domain_rows=sizes,
    )


def _banned_in(domain: str, schedule: Schedule, domain_of: dict[str, str]) -> int:
    # An id that a human banned may belong to any domain: it counts in each, so that we ask sooner, not later.
    return sum(domain_of.get(sample_id, domain) == domain for sample_id in schedule.banned)


async def _record(session: AsyncSession, ports: Ports, report: DiagnosisReport, repair: Repair, *, step: int) -> None:
    await record(
        session, report.run_id, EventKind.REPAIR_CHOSEN, f"Repair {repair.kind}: {' '.join(repair.reasons)}",
        key=report.diagnosis_id, clock=ports.clock, step=step,
        diagnosis_id=report.diagnosis_id, repair=repair.model_dump(mode="json"),
    )  # fmt: skip


async def _ask_human(
    session: AsyncSession,
    ports: Ports,
    spec: RunSpec,
    report: DiagnosisReport,
    repair: Repair,
    schedule: Schedule,
    *,
    step: int,
) -> None:
    steps = await lineage_steps(session, report.run_id, schedule, before_step=step, at_least=PICTURE_STEPS)
    moment = Moment(step=step, steps=steps, now=await database_now(session, ports.store), created_at=ports.clock())
    await put_question(session, ports, write_question(report, repair, spec, moment), step=step)
