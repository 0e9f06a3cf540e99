"""Scores the held-out domains through the worker, once per moment of the run."""

from aft_api.runs.evaluations import add_evaluation, has_evaluation
from aft_api.runs.events import record
from aft_api.runs.schedules import latest_schedule
from aft_api.supervisor.jobs import run_job
from aft_api.supervisor.ports import Ports, RunFailed
from aft_contracts import EvaluationResult, EvaluationSpec, EventKind, JobStatus, RunSpec


async def score(ports: Ports, run_id: str, spec: RunSpec, *, generation: int, step: int) -> str | None:
    """Id of the evaluation of `step`, made now unless it exists; None when nothing is held out.

    Raises:
        RunFailed: the worker could not score the run.
    """
    if not spec.data.evaluation:
        return None
    evaluation_id = f"{run_id}:e:{generation}:{step}"
    async with ports.store.reads() as session:
        if await has_evaluation(session, evaluation_id):
            return evaluation_id
        schedule = await latest_schedule(session, run_id)
    asked = EvaluationSpec(evaluation_id=evaluation_id, run_id=run_id, schedule=schedule, step=step)
    view = await run_job(ports, run_id, "evaluations", evaluation_id, asked)
    if view.status is not JobStatus.COMMITTED or not isinstance(view.result, EvaluationResult):
        assert view.problem is not None
        raise RunFailed(view.problem)
    async with ports.store.sessions.begin() as session:
        await add_evaluation(session, run_id, generation, view.result, ports.clock)
        losses = ", ".join(f"{name} {score.loss:.3f}" for name, score in sorted(view.result.scores.items()))
        await record(
            session, run_id, EventKind.EVALUATED, f"Held-out loss at step {step}, nats per token: {losses}.",
            key=evaluation_id, clock=ports.clock, step=step,
            scores={name: score.model_dump(mode="json") for name, score in view.result.scores.items()},
        )  # fmt: skip
    return evaluation_id
