"""Asking: puts a question to humans, once, with the event and the messages that tell of it."""

from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.notify.outbox import announce
from aft_api.reviews.mending import Failed, write_mending
from aft_api.reviews.repository import ask, database_now
from aft_api.runs.events import record
from aft_api.runs.repository import note_run
from aft_api.supervisor.ports import Ports
from aft_contracts import EventKind, Problem, Review, RunSpec

MENDABLE = frozenset(
    {
        "checkpoint_not_written",
        "ledger_not_written",
        "storage_failed",
        "no_good_checkpoint",
        "training_data_changed",
        "base_weights_changed",
        "model_config_changed",
        "training_thread_dead",
        "stale_fence",
        "internal_error",
        "job_lost",
        "job_silent",
    }
)
"""Failures that lie with a disk, its files or a process: somebody can mend them, and the same job may then succeed."""


def is_mendable(problem: Problem) -> bool:
    """Whether a job that failed so may succeed once somebody has looked after its worker."""
    return problem.code in MENDABLE


async def ask_to_mend(session: AsyncSession, ports: Ports, spec: RunSpec, failed: Failed) -> str:
    """Ask whether to try a job again; the id of the question."""
    now = await database_now(session, ports.store)
    review = write_mending(failed, spec, now=now, created_at=ports.clock())
    await put_question(session, ports, review, step=failed.step)
    return review.review_id


async def put_question(session: AsyncSession, ports: Ports, review: Review, *, step: int) -> None:
    """Ask it, and tell of it, unless it has been asked."""
    if not await ask(session, review):
        return
    await note_run(session, review.run_id, review_id=review.review_id)
    await record(
        session, review.run_id, EventKind.REVIEW_REQUESTED, review.question,
        key=review.review_id, clock=ports.clock, step=step, review_id=review.review_id,
    )  # fmt: skip
    await announce(
        session, review.run_id, EventKind.REVIEW_REQUESTED, review.question,
        key=review.review_id, clock=ports.clock, review=review,
    )  # fmt: skip
