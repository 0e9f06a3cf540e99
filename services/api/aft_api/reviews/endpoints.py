"""Reviews over HTTP. They are answered through the commands of their run."""

from typing import Annotated

from fastapi import APIRouter, Query

from aft_api.dependencies import StoreDep
from aft_api.reviews.repository import get_review, list_reviews
from aft_contracts import Contract, Review, ReviewStatus

router = APIRouter(tags=["reviews"])


class Reviews(Contract):
    """A list of reviews."""

    reviews: tuple[Review, ...]
    """Oldest first."""


@router.get("/reviews")
async def read_reviews(
    store: StoreDep,
    status: Annotated[ReviewStatus | None, Query(description="Only reviews with this status.")] = None,
    run_id: Annotated[str | None, Query(description="Only reviews of this run.")] = None,
) -> Reviews:
    """Questions to humans, oldest first."""
    async with store.reads() as session:
        return Reviews(reviews=tuple(await list_reviews(session, status=status, run_id=run_id)))


@router.get("/reviews/{review_id}")
async def read_review(review_id: str, store: StoreDep) -> Review:
    """One question with its evidence and, once given, its answer."""
    async with store.reads() as session:
        return await get_review(session, review_id)
