"""Probations: what became of the repairs that were made."""

from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.healing.probation import came_back
from aft_api.runs.diagnoses import settle_probation, unproven_repairs
from aft_api.runs.events import record
from aft_api.supervisor.ports import Ports
from aft_contracts import DiagnosisReport, EventKind, Repair, RepairState


async def pass_probations(ports: Ports, run_id: str, *, step: int) -> bool:
    """Record the repairs that have held by `step`; whether others are still on probation."""
    async with ports.store.sessions.begin() as session:
        unproven = await unproven_repairs(session, run_id)
        waiting = [one for one in unproven if one.state is RepairState.ON_PROBATION]
        held = [one for one in waiting if one.ends_step <= step]
        for one in held:
            await settle_probation(session, one.report.diagnosis_id, RepairState.PROVEN)
            await record(
                session, run_id, EventKind.REPAIR_PROVEN,
                f"The {one.repair.kind} of {one.report.diagnosis_id} held until step {one.ends_step}: it is proven.",
                key=one.report.diagnosis_id, clock=ports.clock, step=step, diagnosis_id=one.report.diagnosis_id,
            )  # fmt: skip
    return len(held) < len(waiting)


async def fail_probations(session: AsyncSession, ports: Ports, now: DiagnosisReport, *, step: int) -> list[Repair]:
    """The repairs that were to heal the incident that `now` is again; those on probation have failed it by that."""
    vain = [
        one
        for one in await unproven_repairs(session, now.run_id)
        if came_back(one.report, one.repair, now, ends_step=one.ends_step)
    ]
    for one in vain:
        await settle_probation(session, one.report.diagnosis_id, RepairState.FAILED)
        await record(
            session, now.run_id, EventKind.REPAIR_FAILED,
            f"The {one.repair.kind} of {one.report.diagnosis_id} did not hold: {now.diagnosis_id} is the same again.",
            key=one.report.diagnosis_id, clock=ports.clock, step=step, diagnosis_id=one.report.diagnosis_id,
        )  # fmt: skip
    return [one.repair for one in vain]
