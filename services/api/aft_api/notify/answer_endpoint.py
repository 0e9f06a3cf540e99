"""The answer page over HTTP: a GET shows, a POST decides, by the token in the address."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Query, Request, Response

from aft_api.dependencies import AnswersDep, ClockDep, LinksDep, StoreDep
from aft_api.errors import AftError
from aft_api.notify.answer_page import outcome_page, question_page, refusal_page
from aft_api.notify.errors import FormUnreadable
from aft_api.notify.links import Link, LinkInvalid
from aft_api.notify.slack_blocks import outcome_of
from aft_api.reviews.errors import ReviewAlreadyDecided
from aft_api.reviews.repository import get_review
from aft_api.runs.service import Caller
from aft_contracts import Review, ReviewStatus

router = APIRouter(tags=["notifications"])
Token = Annotated[str, Path(description="The signed token of the link.", max_length=2000)]
LARGEST_FORM = 64 * 1024
MESSAGE_CHARS = 4000


@router.get("/answer/{token}", response_class=Response)
async def read_answer_page(
    token: Token,
    store: StoreDep,
    clock: ClockDep,
    links: LinksDep,
    take: Annotated[str, Query(description="The answer that is proposed.", max_length=40)] = "",
) -> Response:
    """The question behind a link, with a form; looking at it decides nothing."""
    try:
        if links is None:
            raise LinkInvalid
        link = links.read(token, clock())
        async with store.reads() as session:
            review = await get_review(session, link.review_id)
    except AftError as refusal:
        return refusal_page(refusal)
    return question_page(review, take=take) if review.status is ReviewStatus.OPEN else _over(review, link)


@router.post("/answer/{token}", response_class=Response)
async def post_answer(
    token: Token, request: Request, store: StoreDep, clock: ClockDep, links: LinksDep, answers: AnswersDep
) -> Response:
    """Answer the question behind a link, once."""
    try:
        if links is None:
            raise LinkInvalid
        link = links.read(token, clock())
        choice, message = await _form(request)
        review = await answers.give(link.review_id, choice, message, Caller(user=link.user, channel="link"))
    except ReviewAlreadyDecided:
        async with store.reads() as session:
            return _over(await get_review(session, link.review_id), link)
    except AftError as refusal:
        return refusal_page(refusal)
    return outcome_page("Your answer was taken", [outcome_of(review), "The run acts on it at its next step boundary."])


def _over(review: Review, link: Link) -> Response:
    title = "This link has been used" if review.decided_by == link.user else "Somebody has answered already"
    if review.status is ReviewStatus.WITHDRAWN:
        title = "Nobody need answer any more"
    return outcome_page(title, [outcome_of(review)], ReviewAlreadyDecided.status)


async def _form(request: Request) -> tuple[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            raise FormUnreadable(f"It is larger than {LARGEST_FORM} bytes.")
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
    except ValueError as error:
        raise FormUnreadable("It is no form.") from error
    choice, message = fields.get("choice", [""])[0], fields.get("message", [""])[0]
    if not choice:
        raise FormUnreadable("It names no answer in the field 'choice'.")
    if len(message) > MESSAGE_CHARS:
        raise FormUnreadable(f"Its message is longer than {MESSAGE_CHARS} characters.")
    return choice, message
