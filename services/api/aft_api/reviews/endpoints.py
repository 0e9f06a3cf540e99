"""Reviews over HTTP. They are answered through the commands of their run, or in the words of an inbox."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi import status as http
from pydantic import Field

from aft_api.dependencies import CallerDep, ClockDep, FleetDep, IdempotencyKey, StoreDep
from aft_api.reviews.agent_inbox import command_of, command_of_decision, interrupt_of
from aft_api.reviews.errors import NoPicture
from aft_api.reviews.picture import picture_of
from aft_api.reviews.repository import get_review, list_reviews
from aft_api.runs.service import give_command
from aft_contracts import CommandRecord, Contract, HumanDecisions, HumanInterrupt, HumanResponse, Review, ReviewStatus

router = APIRouter(tags=["reviews"])
ReviewId = Annotated[str, Path(description="The review's id.", max_length=200)]
OneResponse = Annotated[list[HumanResponse], Field(min_length=1, max_length=1)]
STILL_IMAGE = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}


class ReviewState(StrEnum):
    """Which reviews are listed."""

    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"
    ALL = "all"


class Reviews(Contract):
    """A page of reviews."""

    reviews: tuple[Review, ...]
    """Oldest first."""
    next_after: str | None = None
    """What to give as `after` for the next page; null on the last one."""


@router.get("/reviews")
async def read_reviews(
    store: StoreDep,
    state: Annotated[ReviewState, Query(description="Only reviews in this state.")] = ReviewState.ALL,
    run_id: Annotated[str | None, Query(description="Only reviews of this run.", max_length=64)] = None,
    after: Annotated[str | None, Query(description="Only reviews behind this one.", max_length=200)] = None,
    limit: Annotated[int, Query(description="Most reviews to list.", ge=1, le=200)] = 50,
) -> Reviews:
    """Questions to humans, oldest first, page by page."""
    status = None if state is ReviewState.ALL else ReviewStatus(state)
    async with store.reads() as session:
        found = await list_reviews(session, status=status, run_id=run_id, after=after, limit=limit + 1)
    page = tuple(found[:limit])
    return Reviews(reviews=page, next_after=page[-1].review_id if len(found) > limit else None)


@router.get("/reviews/{review_id}")
async def read_review(review_id: ReviewId, store: StoreDep) -> Review:
    """One question with its evidence and, once given, its answer."""
    async with store.reads() as session:
        return await get_review(session, review_id)


@router.get(
    "/reviews/{review_id}/picture.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}},
)
async def read_picture(review_id: ReviewId, store: StoreDep) -> Response:
    """The last losses before the question, as a picture."""
    async with store.reads() as session:
        review = await get_review(session, review_id)
    if review.evidence is None:
        raise NoPicture(review_id)
    return Response(picture_of(review.evidence), media_type="image/svg+xml", headers=STILL_IMAGE)


@router.get("/reviews/{review_id}/interrupt")
async def read_interrupt(review_id: ReviewId, store: StoreDep) -> HumanInterrupt:
    """One question in the shape of Agent Inbox."""
    async with store.reads() as session:
        return interrupt_of(await get_review(session, review_id))


@router.post("/reviews/{review_id}/response", status_code=http.HTTP_202_ACCEPTED)
async def post_response(
    review_id: ReviewId,
    response: HumanResponse | OneResponse | HumanDecisions,
    store: StoreDep,
    clock: ClockDep,
    fleet: FleetDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> CommandRecord:
    """Answer in the shape of Agent Inbox, one response, alone or in a list, or of LangChain's HITL middleware."""
    async with store.reads() as session:
        review = await get_review(session, review_id)
    if isinstance(response, HumanDecisions):
        command = command_of_decision(review, response.decisions[0])
    else:
        command = command_of(review, response[0] if isinstance(response, list) else response)
    accepted = await give_command(store, review.run_id, command, command_id=idempotency_key, caller=caller, clock=clock)
    fleet.hear(review.run_id)
    return accepted
