"""Probations: what became of the repairs that were made."""

from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.healing.probation import came_back, proven_from
from aft_api.runs.diagnoses import Probation, settle_probation, unproven_repairs
from aft_api.runs.events import record
from aft_api.supervisor.evidence import Evidence
from aft_api.supervisor.ports import Ports
from aft_contracts import DiagnosisReport, EventKind, Repair, RepairState, RunSpec, Schedule


async def pass_probations(ports: Ports, run_id: str, evidence: Evidence, *, step: int) -> bool:
    """Record the repairs that have held by `step`; whether others are still on probation."""
    async with ports.store.sessions.begin() as session:
        unproven = await unproven_repairs(session, run_id)
        waiting = [one for one in unproven if one.state is RepairState.ON_PROBATION]
        ends = {one.report.diagnosis_id: _ends(one, evidence.spec, evidence.armed_from) for one in waiting}
        held = [one for one in waiting if ends[one.report.diagnosis_id] <= step]
        for one in held:
            diagnosis_id = one.report.diagnosis_id
            await settle_probation(session, diagnosis_id, RepairState.PROVEN, ends_step=ends[diagnosis_id])
            await record(
                session, run_id, EventKind.REPAIR_PROVEN,
                f"The {one.repair.kind} of {diagnosis_id} held until step {ends[diagnosis_id]}: it is proven.",
                key=diagnosis_id, clock=ports.clock, step=step, diagnosis_id=diagnosis_id,
            )  # fmt: skip
    return len(held) < len(waiting)


async def fail_probations(
    session: AsyncSession, ports: Ports, now: DiagnosisReport, spec: RunSpec, schedule: Schedule, *, step: int
) -> list[Repair]:
    """The repairs that were to heal the incident that `now` is again; those on probation have failed it by that."""
    armed_from = schedule.armed_from(min(anomaly.step for anomaly in now.anomalies))
    unproven = [(one, _ends(one, spec, armed_from)) for one in await unproven_repairs(session, now.run_id)]
    vain = [(one, ends) for one, ends in unproven if came_back(one.report, one.repair, now, ends_step=ends)]
    for one, ends in vain:
        await settle_probation(session, one.report.diagnosis_id, RepairState.FAILED, ends_step=ends)
        await record(
            session, now.run_id, EventKind.REPAIR_FAILED,
            f"The {one.repair.kind} of {one.report.diagnosis_id} did not hold: {now.diagnosis_id} is the same again.",
            key=one.report.diagnosis_id, clock=ports.clock, step=step, diagnosis_id=one.report.diagnosis_id,
        )  # fmt: skip
    return [one.repair for one, _ in vain]


def _ends(one: Probation, spec: RunSpec, armed_from: int) -> int:
    """The step at which the repair has held; later than was planned where the course was changed again since."""
    if one.state is RepairState.FAILED:
        return one.ends_step
    return max(one.ends_step, proven_from(one.report, spec, armed_from=armed_from))
