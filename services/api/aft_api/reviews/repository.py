"""Review rows: asked once, decided once."""

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import CursorResult, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.once import insert_once
from aft_api.db.tables import ReviewRow
from aft_api.reviews.errors import ReviewAlreadyDecided, ReviewNotFound
from aft_contracts import Decision, Evidence, OnDeadline, Option, Repair, Review, ReviewStatus


async def database_now(session: AsyncSession, store: Store) -> datetime:
    """The moment by the database's clock, which deadlines are measured by and nothing else."""
    now_s = await session.scalar(select(store.now_s))
    return datetime.fromtimestamp(cast(float, now_s), UTC)


async def ask(session: AsyncSession, review: Review) -> bool:
    """Write the question unless it has been asked; whether it is new."""
    values = review.model_dump(mode="json", exclude={"created_at", "deadline_at", "decided_at"})
    deadline_at = None if review.deadline_at is None else review.deadline_at.timestamp()
    return await insert_once(session, ReviewRow, **values, created_at=review.created_at, deadline_at=deadline_at)


async def get_review(session: AsyncSession, review_id: str) -> Review:
    """The review.

    Raises:
        ReviewNotFound: there is none.
    """
    row = await session.get(ReviewRow, review_id, populate_existing=True)
    if row is None:
        raise ReviewNotFound(review_id)
    return _review(row)


async def list_reviews(
    session: AsyncSession,
    *,
    status: ReviewStatus | None,
    run_id: str | None,
    after: str | None = None,
    limit: int | None = None,
) -> list[Review]:
    """Reviews, oldest first; `after` is the last one that is known already.

    Raises:
        ReviewNotFound: there is no review `after`.
    """
    query = select(ReviewRow).order_by(ReviewRow.created_at, ReviewRow.review_id).limit(limit)
    if status is not None:
        query = query.where(ReviewRow.status == status)
    if run_id is not None:
        query = query.where(ReviewRow.run_id == run_id)
    if after is not None:
        known = await session.get(ReviewRow, after)
        if known is None:
            raise ReviewNotFound(after)
        query = query.where(tuple_(ReviewRow.created_at, ReviewRow.review_id) > (known.created_at, after))
    return [_review(row) for row in await session.scalars(query)]


async def asked_last(session: AsyncSession, run_id: str) -> str | None:
    """The review that the run asks now, or else the one that it asked last; None while it has asked nothing."""
    review_id: str | None = await session.scalar(
        select(ReviewRow.review_id)
        .where(ReviewRow.run_id == run_id)
        .order_by((ReviewRow.status == ReviewStatus.OPEN).desc(), ReviewRow.created_at.desc(), ReviewRow.review_id)
        .limit(1)
    )
    return review_id


async def count_decided(session: AsyncSession, run_id: str) -> int:
    """How many of the run's questions have been answered."""
    decided = select(func.count()).where(ReviewRow.run_id == run_id, ReviewRow.status == ReviewStatus.DECIDED)
    return int(await session.scalar(decided) or 0)


async def is_open(session: AsyncSession, review_id: str) -> bool:
    """Whether this question has been asked and still waits for its answer."""
    waits = select(exists().where(ReviewRow.review_id == review_id, ReviewRow.status == ReviewStatus.OPEN))
    return bool(await session.scalar(waits))


async def decide(
    session: AsyncSession, review_id: str, decision: Decision, *, by: str, via: str, clock: Clock
) -> Review:
    """Decide an open review, by compare-and-set: of two answers at once, one wins.

    Raises:
        ReviewNotFound: there is none.
        ReviewAlreadyDecided: somebody was first.
    """
    outcome = await session.execute(
        update(ReviewRow)
        .where(ReviewRow.review_id == review_id, ReviewRow.status == ReviewStatus.OPEN)
        .values(
            status=ReviewStatus.DECIDED,
            decision=decision.model_dump(mode="json"),
            decided_by=by,
            decided_via=via,
            decided_at=clock(),
        )
    )
    review = await get_review(session, review_id)
    if cast(CursorResult[Any], outcome).rowcount == 0:
        raise ReviewAlreadyDecided(review)
    return review


async def due_reviews(session: AsyncSession, store: Store, *, limit: int) -> list[Review]:
    """Open reviews whose deadline has passed by the database's clock, and of which nobody has taken note."""
    rows = await session.scalars(
        select(ReviewRow)
        .where(
            ReviewRow.status == ReviewStatus.OPEN,
            ReviewRow.is_overdue.is_(False),
            ReviewRow.deadline_at <= store.now_s,
        )
        .order_by(ReviewRow.deadline_at)
        .limit(limit)
    )
    return [_review(row) for row in rows]


async def note_overdue(session: AsyncSession, review_id: str) -> bool:
    """Note that the deadline of an open review has passed; False when somebody has noted it, or the answer has come."""
    outcome = await session.execute(
        update(ReviewRow)
        .where(
            ReviewRow.review_id == review_id,
            ReviewRow.status == ReviewStatus.OPEN,
            ReviewRow.is_overdue.is_(False),
        )
        .values(is_overdue=True)
    )
    return cast(CursorResult[Any], outcome).rowcount == 1


async def withdraw_reviews(session: AsyncSession, run_id: str) -> list[Review]:
    """Take back what the run still asks: it has ended, and no answer would change anything. What it asked."""
    withdrawn = await session.scalars(
        update(ReviewRow)
        .where(ReviewRow.run_id == run_id, ReviewRow.status == ReviewStatus.OPEN)
        .values(status=ReviewStatus.WITHDRAWN)
        .returning(ReviewRow.review_id)
    )
    return [await get_review(session, review_id) for review_id in withdrawn.all()]


def _review(row: ReviewRow) -> Review:
    return Review(
        review_id=row.review_id,
        run_id=row.run_id,
        diagnosis_id=row.diagnosis_id,
        question=row.question,
        proposal=None if row.proposal is None else Repair.model_validate(row.proposal),
        evidence=None if row.evidence is None else Evidence.model_validate(row.evidence),
        options=tuple(Option.model_validate(option) for option in row.options),
        recommended=row.recommended,
        answered_by=tuple(row.answered_by),
        deadline_at=None if row.deadline_at is None else datetime.fromtimestamp(row.deadline_at, UTC),
        on_deadline=OnDeadline(row.on_deadline),
        is_overdue=row.is_overdue,
        status=ReviewStatus(row.status),
        created_at=row.created_at,
        decision=None if row.decision is None else Decision.model_validate(row.decision),
        decided_by=row.decided_by,
        decided_via=row.decided_via,
        decided_at=row.decided_at,
    )
