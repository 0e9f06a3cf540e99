"""Evaluations: held-out scores along the run."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.once import insert_once
from aft_api.db.tables import EvaluationRow
from aft_contracts import DomainScore, Evaluated, EvaluationResult, Schedule

_OF_RUN = (
    select(EvaluationRow)
    .where(EvaluationRow.run_id == bindparam("run_id"))
    .order_by(EvaluationRow.generation, EvaluationRow.step)
)


async def add_evaluation(
    session: AsyncSession, run_id: str, generation: int, result: EvaluationResult, clock: Clock
) -> bool:
    """Write the scores once; whether they are new."""
    return await insert_once(
        session,
        EvaluationRow,
        evaluation_id=result.evaluation_id,
        run_id=run_id,
        generation=generation,
        step=result.step,
        scores={domain: score.model_dump(mode="json") for domain, score in result.scores.items()},
        created_at=clock(),
    )


async def has_evaluation(session: AsyncSession, evaluation_id: str) -> bool:
    """Whether these scores have been written."""
    return await session.get(EvaluationRow, evaluation_id) is not None


async def list_evaluations(session: AsyncSession, run_id: str) -> list[Evaluated]:
    """A run's scores, oldest first: by what they score, for the wall clock may have been set back since."""
    rows = await session.scalars(_OF_RUN, {"run_id": run_id})
    return [_evaluated(row) for row in rows]


async def lineage_evaluations(session: AsyncSession, run_id: str, schedule: Schedule, *, step: int) -> list[Evaluated]:
    """Scores of the ancestors of the state at `step`, and of itself, oldest first; none of what was rolled back."""
    reach = dict(schedule.lineage(step))
    rows = await session.scalars(_OF_RUN, {"run_id": run_id})
    return [_evaluated(row) for row in rows if row.step <= reach.get(row.generation, -1)]


def _evaluated(row: EvaluationRow) -> Evaluated:
    scores = {domain: DomainScore.model_validate(score) for domain, score in row.scores.items()}
    return Evaluated(step=row.step, scores=scores)
