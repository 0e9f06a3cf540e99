"""Review rows: asked once, decided once."""

from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.once import insert_once
from aft_api.db.tables import ReviewRow
from aft_api.reviews.errors import ReviewAlreadyDecided, ReviewNotFound
from aft_contracts import Decision, Repair, Review, ReviewStatus


async def ask(session: AsyncSession, review: Review) -> bool:
    """Write the question unless it has been asked; whether it is new."""
    values = review.model_dump(mode="json", exclude={"created_at"})
    return await insert_once(session, ReviewRow, **values, created_at=review.created_at)


async def get_review(session: AsyncSession, review_id: str) -> Review:
    """The review.

    Raises:
        ReviewNotFound: there is none.
    """
    row = await session.get(ReviewRow, review_id, populate_existing=True)
    if row is None:
        raise ReviewNotFound(review_id)
    return _review(row)


async def list_reviews(session: AsyncSession, *, status: ReviewStatus | None, run_id: str | None) -> list[Review]:
    """Reviews, oldest first."""
    query = select(ReviewRow).order_by(ReviewRow.created_at, ReviewRow.review_id)
    if status is not None:
        query = query.where(ReviewRow.status == status)
    if run_id is not None:
        query = query.where(ReviewRow.run_id == run_id)
    return [_review(row) for row in await session.scalars(query)]


async def decide(session: AsyncSession, review_id: str, decision: Decision, *, by: str, clock: Clock) -> Review:
    """Decide an open review, by compare-and-set: of two answers at once, one wins.

    Raises:
        ReviewNotFound: there is none.
        ReviewAlreadyDecided: somebody was first.
    """
    outcome = await session.execute(
        update(ReviewRow)
        .where(ReviewRow.review_id == review_id, ReviewRow.status == ReviewStatus.OPEN)
        .values(
            status=ReviewStatus.DECIDED, decision=decision.model_dump(mode="json"), decided_by=by, decided_at=clock()
        )
    )
    review = await get_review(session, review_id)
    if cast(CursorResult[Any], outcome).rowcount == 0:
        answer = review.decision.answer if review.decision else "unknown"
        raise ReviewAlreadyDecided(review_id, review.decided_by or "unknown", answer)
    return review


async def withdraw_reviews(session: AsyncSession, run_id: str) -> None:
    """Take back what the run still asks: it has ended, and no answer would change anything."""
    await session.execute(
        update(ReviewRow)
        .where(ReviewRow.run_id == run_id, ReviewRow.status == ReviewStatus.OPEN)
        .values(status=ReviewStatus.WITHDRAWN)
    )


def _review(row: ReviewRow) -> Review:
    return Review(
        review_id=row.review_id,
        run_id=row.run_id,
        diagnosis_id=row.diagnosis_id,
        question=row.question,
        proposal=None if row.proposal is None else Repair.model_validate(row.proposal),
        status=ReviewStatus(row.status),
        created_at=row.created_at,
        decision=None if row.decision is None else Decision.model_validate(row.decision),
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )
