"""Writes the question of a job that fails from a cause that somebody can mend: nobody's run is lost for a full disk."""

from dataclasses import dataclass
from datetime import datetime

from aft_api.reviews.question import deadline_of, on_deadline_of
from aft_contracts import Approve, Option, Problem, Review, ReviewStatus, RunSpec, Stop


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A job whose last attempt failed."""

    run_id: str
    job: str
    """What it is, in words that begin a sentence."""
    job_id: str
    step: int
    """Optimizer steps of the run that are safe."""
    attempts: int
    """How often it was tried, all in all."""
    problem: Problem
    """Why the last attempt failed."""


def mending_id_of(job_id: str, attempts: int) -> str:
    """The id of the question that so many failed attempts at a job lead to."""
    return f"{job_id}:{attempts}:review"


def write_mending(failed: Failed, spec: RunSpec, *, now: datetime, created_at: datetime) -> Review:
    """The review that asks whether to try again; `now` is by the database's clock, `created_at` by the process's."""
    review_id = mending_id_of(failed.job_id, failed.attempts)
    options = (
        Option(
            name="go_on",
            command=Approve(review_id=review_id),
            effect=f"Tries again from step {failed.step}, the same way; mend the cause first.",
        ),
        Option(
            name="stop",
            command=Stop(review_id=review_id),
            effect=f"Ends the run at step {failed.step}; what was trained is kept, and exported if that is possible.",
        ),
    )
    return Review(
        review_id=review_id,
        run_id=failed.run_id,
        question=(
            f"{failed.job} failed {failed.attempts} times, last with {failed.problem.code}: {failed.problem.detail} "
            f"All up to step {failed.step} is safe. Mend the cause and go on, or stop the run."
        ),
        proposal=None,
        options=options,
        recommended=options[0].name,
        answered_by=spec.reviews.answered_by,
        deadline_at=deadline_of(spec.reviews, now),
        on_deadline=on_deadline_of(spec.reviews, options),
        status=ReviewStatus.OPEN,
        created_at=created_at,
    )
