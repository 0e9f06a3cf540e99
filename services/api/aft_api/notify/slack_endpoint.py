"""Slack's approve buttons: a verified click is a command like any other."""

import structlog
from fastapi import APIRouter, Request, Response

from aft_api.dependencies import ClockDep, FleetDep, SettingsDep, StoreDep
from aft_api.errors import AftError
from aft_api.notify.slack_interaction import BadSlackSignature, SlackUserNotAllowed, parse, verify
from aft_api.reviews.repository import get_review
from aft_api.runs.service import Caller, give_command
from aft_contracts import Resume

log = structlog.get_logger()
router = APIRouter(tags=["slack"])


@router.post("/slack/interactions")
async def post_interaction(
    request: Request, store: StoreDep, clock: ClockDep, fleet: FleetDep, settings: SettingsDep
) -> Response:
    """Answer a review by a button in Slack."""
    body = await request.body()
    if settings.slack_signing_secret is None:
        raise BadSlackSignature("AFT_SLACK_SIGNING_SECRET is not set, so no click can be trusted.")
    verify(body, request.headers, settings.slack_signing_secret.get_secret_value(), clock())
    click = parse(body)
    if click.user_id not in settings.slack_approvers:
        raise SlackUserNotAllowed(click.user_id)
    async with store.reads() as session:
        review = await get_review(session, click.review_id)
    try:
        await give_command(
            store,
            review.run_id,
            Resume(review_id=review.review_id, answer=click.answer),
            command_id=None,
            caller=Caller(user=f"slack:{click.user_id}", channel="slack"),
            clock=clock,
        )
    except AftError as error:
        log.info("slack_click_refused", review_id=click.review_id, code=error.problem.code)
        raise
    fleet.wake()
    return Response(status_code=200)
