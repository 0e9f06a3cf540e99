"""Diagnoses: reports and the repairs chosen for them."""

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.once import insert_once
from aft_api.db.tables import DiagnosisRow, WindowRow
from aft_contracts import DiagnosisReport, Repair, RepairState


async def add_diagnosis(session: AsyncSession, report: DiagnosisReport, clock: Clock) -> bool:
    """Write a report once; whether it is new."""
    return await insert_once(
        session,
        DiagnosisRow,
        diagnosis_id=report.diagnosis_id,
        run_id=report.run_id,
        window_id=report.window_id,
        first_bad_step=min(anomaly.step for anomaly in report.anomalies),
        report=report.model_dump(mode="json", exclude={"repair", "repair_state", "probation_ends_step"}),
        created_at=clock(),
    )


def diagnosis_id_of(window_id: str) -> str:
    """The id of the diagnosis of a window, which has one at most."""
    return f"{window_id}:d"


async def get_diagnosis(session: AsyncSession, diagnosis_id: str) -> DiagnosisReport | None:
    """The report, or None before it was written."""
    row = await session.get(DiagnosisRow, diagnosis_id)
    return None if row is None else _report(row)


async def list_diagnoses(session: AsyncSession, run_id: str) -> list[DiagnosisReport]:
    """A run's reports, oldest first: by their windows, for the wall clock may have been set back since."""
    rows = await session.scalars(
        select(DiagnosisRow)
        .join(WindowRow, WindowRow.window_id == DiagnosisRow.window_id)
        .where(DiagnosisRow.run_id == run_id)
        .order_by(WindowRow.index)
    )
    return [_report(row) for row in rows]


async def unproven_samples(session: AsyncSession, run_id: str) -> frozenset[str]:
    """Samples of a run that were looked into before, and not shown to do harm."""
    return frozenset(one for report in await list_diagnoses(session, run_id) for one in report.unproven)


async def replayed_steps(session: AsyncSession, run_id: str, *, since_step: int) -> int:
    """Steps that the replays of a run have trained for incidents that began at `since_step` or later."""
    cost = func.sum(DiagnosisRow.report["replay_steps"].as_integer())
    return (
        await session.scalar(
            select(cost).where(DiagnosisRow.run_id == run_id, DiagnosisRow.first_bad_step >= since_step)
        )
        or 0
    )


@dataclass(frozen=True, kw_only=True)
class RateRepair:
    """A repair that lowered the learning rate because it had jumped."""

    diagnosis_id: str
    repair: Repair
    jump_step: int
    """The first step of the jump."""


async def last_rate_repair(session: AsyncSession, run_id: str) -> RateRepair | None:
    """The run's last repair that answered a jump of the learning rate, or None."""
    rows = await session.scalars(
        select(DiagnosisRow)
        .join(WindowRow, WindowRow.window_id == DiagnosisRow.window_id)
        .where(DiagnosisRow.run_id == run_id, DiagnosisRow.repair.is_not(None))
        .order_by(WindowRow.index.desc())
    )
    for row in rows:
        repair = Repair.model_validate(row.repair)
        jump_step = row.report.get("rate_jump_step")
        if repair.lr_factor is not None and jump_step is not None:
            return RateRepair(diagnosis_id=row.diagnosis_id, repair=repair, jump_step=jump_step)
    return None


async def chosen_repair(session: AsyncSession, diagnosis_id: str) -> Repair | None:
    """The repair that the planner chose, or a human in its place; None before the planner did."""
    row = await session.get(DiagnosisRow, diagnosis_id)
    return None if row is None or row.repair is None else Repair.model_validate(row.repair)


async def choose_repair(session: AsyncSession, diagnosis_id: str, repair: Repair, *, ends_step: int | None) -> None:
    """Write which repair was chosen, and the step at which its probation ends; None for one without."""
    await session.execute(
        update(DiagnosisRow)
        .where(DiagnosisRow.diagnosis_id == diagnosis_id)
        .values(
            repair=repair.model_dump(mode="json"),
            repair_state=None if ends_step is None else RepairState.ON_PROBATION,
            probation_ends_step=ends_step,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Probation:
    """A repair that has to prove itself, or has failed to."""

    report: DiagnosisReport
    repair: Repair
    state: RepairState
    ends_step: int
    """The step at which it has held."""


async def unproven_repairs(session: AsyncSession, run_id: str) -> list[Probation]:
    """A run's repairs that are on probation or failed it, in the order of their ids."""
    rows = await session.scalars(
        select(DiagnosisRow)
        .where(
            DiagnosisRow.run_id == run_id,
            DiagnosisRow.repair_state.in_((RepairState.ON_PROBATION, RepairState.FAILED)),
        )
        .order_by(DiagnosisRow.diagnosis_id)
    )
    return [_probation(row) for row in rows]


async def settle_probation(session: AsyncSession, diagnosis_id: str, state: RepairState, *, ends_step: int) -> None:
    """Write what became of a repair, and the step at which its probation ended."""
    await session.execute(
        update(DiagnosisRow)
        .where(DiagnosisRow.diagnosis_id == diagnosis_id)
        .values(repair_state=state, probation_ends_step=ends_step)
    )


async def earlier_repairs(session: AsyncSession, run_id: str, diagnosis_id: str) -> list[tuple[int, Repair]]:
    """(first bad step, repair) of the run's other diagnoses, oldest first."""
    rows = await session.execute(
        select(DiagnosisRow.first_bad_step, DiagnosisRow.repair)
        .join(WindowRow, WindowRow.window_id == DiagnosisRow.window_id)
        .where(
            DiagnosisRow.run_id == run_id,
            DiagnosisRow.diagnosis_id != diagnosis_id,
            DiagnosisRow.repair.is_not(None),
        )
        .order_by(WindowRow.index)
    )
    return [(step, Repair.model_validate(repair)) for step, repair in rows]


def _report(row: DiagnosisRow) -> DiagnosisReport:
    return DiagnosisReport.model_validate(
        {
            **row.report,
            "repair": row.repair,
            "repair_state": row.repair_state,
            "probation_ends_step": row.probation_ends_step,
        }
    )


def _probation(row: DiagnosisRow) -> Probation:
    report = _report(row)
    assert report.repair is not None, "written together with its state"
    assert report.repair_state is not None
    assert report.probation_ends_step is not None
    return Probation(
        report=report, repair=report.repair, state=report.repair_state, ends_step=report.probation_ends_step
    )
