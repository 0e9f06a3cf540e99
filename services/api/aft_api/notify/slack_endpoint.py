"""Slack's buttons and modals: a verified click is a command like any other."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from aft_api.dependencies import ClockDep, SettingsDep, SlackClicksDep
from aft_api.notify.slack_interaction import BadSlackSignature, parse, verify

router = APIRouter(tags=["slack"])
LARGEST_BODY = 256 * 1024


@router.post("/slack/interactions")
async def post_interaction(
    request: Request, clock: ClockDep, settings: SettingsDep, clicks: SlackClicksDep
) -> Response:
    """Answer a review by a button or modal in Slack; acknowledged at once, whatever becomes of it."""
    if settings.slack_signing_secret is None:
        raise BadSlackSignature("AFT_SLACK_SIGNING_SECRET is not set, so no click can be trusted.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise BadSlackSignature("The request is larger than any click.")
    verify(body, request.headers, settings.slack_signing_secret.get_secret_value(), clock())
    click = parse(body)
    said = None if click is None else await clicks.acknowledge(click)
    return Response(status_code=200) if said is None else JSONResponse(said)
