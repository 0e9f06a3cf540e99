"""Scores the held-out domains through the worker, once per moment of the run."""

from aft_api.runs.evaluations import add_evaluation, has_evaluation
from aft_api.runs.events import record
from aft_api.runs.schedules import latest_schedule
from aft_api.supervisor.jobs import JobFailed, patient_job
from aft_api.supervisor.ports import Ports
from aft_contracts import Evaluated, EvaluationResult, EvaluationSpec, EventKind, RunSpec, Schedule


async def score(ports: Ports, run_id: str, spec: RunSpec, *, generation: int, step: int) -> str | None:
    """Id of the evaluation of `step`, made now unless it exists; None where nothing is held out or the worker failed.

    A run goes on without a score: the failed attempts are events, and the mix stays what it is.
    """
    if not spec.data.evaluation:
        return None
    evaluation_id = f"{run_id}:e:{generation}:{step}"
    async with ports.store.reads() as session:
        if await has_evaluation(session, evaluation_id):
            return evaluation_id
        schedule = await latest_schedule(session, run_id)
    asked = EvaluationSpec(evaluation_id=evaluation_id, run_id=run_id, schedule=schedule, step=step)
    try:
        result = await patient_job(ports, run_id, "evaluations", evaluation_id, asked)
    except JobFailed:
        return None
    assert isinstance(result, EvaluationResult), "another result is judged a misfit"
    async with ports.store.sessions.begin() as session:
        await add_evaluation(session, run_id, generation, result, ports.clock)
        losses = ", ".join(f"{name} {score.loss:.3f}" for name, score in sorted(result.scores.items()))
        await record(
            session, run_id, EventKind.EVALUATED, f"Held-out loss at step {step}, nats per token: {losses}.",
            key=evaluation_id, clock=ports.clock, step=step,
            scores={name: score.model_dump(mode="json") for name, score in result.scores.items()},
        )  # fmt: skip
    return evaluation_id


async def score_again(
    ports: Ports, run_id: str, schedule: Schedule, *, step: int, newest_checkpoint: int
) -> Evaluated | None:
    """The scores of `step` once the steps since a checkpoint were trained again; None where the worker failed."""
    asked = EvaluationSpec(
        evaluation_id=f"{run_id}:e:{schedule.generation}:{step}:from:{newest_checkpoint}",
        run_id=run_id,
        schedule=schedule,
        step=step,
        newest_checkpoint=newest_checkpoint,
    )
    try:
        result = await patient_job(ports, run_id, "evaluations", asked.evaluation_id, asked)
    except JobFailed:
        return None
    assert isinstance(result, EvaluationResult), "another result is judged a misfit"
    return Evaluated(step=step, scores=result.scores)
