"""What endpoints are given; `app.py` puts it on the application's state.

Nothing here waits. The functions are async because FastAPI sends plain ones to a thread, for every request.
"""

from typing import Annotated, cast

from fastapi import Depends, Header, Request

from aft_api.access.identity import Identity
from aft_api.access.rules import may
from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.notify.answer import Answers
from aft_api.notify.links import Links
from aft_api.notify.slack_clicks import SlackClicks
from aft_api.runs.service import Caller
from aft_api.settings import Settings
from aft_api.stop import Stop
from aft_api.supervisor.fleet import Fleet
from aft_contracts import Role


async def get_store(request: Request) -> Store:
    """The business store."""
    return cast(Store, request.app.state.store)


async def get_clock(request: Request) -> Clock:
    """The wall clock."""
    return cast(Clock, request.app.state.clock)


async def get_fleet(request: Request) -> Fleet:
    """The drivers of this process."""
    return cast(Fleet, request.app.state.fleet)


async def get_stop(request: Request) -> Stop:
    """Whether the process is about to end."""
    return cast(Stop, request.app.state.stop)


async def get_settings(request: Request) -> Settings:
    """The process's settings."""
    return cast(Settings, request.app.state.settings)


async def get_answers(request: Request) -> Answers:
    """Answers to reviews from outside."""
    return cast(Answers, request.app.state.answers)


async def get_links(request: Request) -> Links | None:
    """Approve links; None when there is no secret to sign them."""
    return cast(Links | None, request.app.state.links)


async def get_slack_clicks(request: Request) -> SlackClicks:
    """Clicks in Slack, acted upon."""
    return cast(SlackClicks, request.app.state.slack_clicks)


async def get_caller(
    request: Request,
    x_aft_user: Annotated[str, Header(description="Who asks, where no token says so.", max_length=200)] = "local",
    x_aft_channel: Annotated[str, Header(description="Through what: api or cli.", pattern="^(api|cli)$")] = "api",
) -> Caller:
    """Who asks, and through what."""
    identity = cast(Identity, request.state.identity)
    held = identity.role
    roles = frozenset(str(role) for role in Role if held is not None and may(held, role))
    return Caller(user=identity.user or x_aft_user, channel=x_aft_channel, roles=roles)


StoreDep = Annotated[Store, Depends(get_store)]
ClockDep = Annotated[Clock, Depends(get_clock)]
FleetDep = Annotated[Fleet, Depends(get_fleet)]
StopDep = Annotated[Stop, Depends(get_stop)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
CallerDep = Annotated[Caller, Depends(get_caller)]
IdempotencyKey = Annotated[
    str | None, Header(description="The same key and body are carried out once.", min_length=1, max_length=150)
]
AnswersDep = Annotated[Answers, Depends(get_answers)]
LinksDep = Annotated[Links | None, Depends(get_links)]
SlackClicksDep = Annotated[SlackClicks, Depends(get_slack_clicks)]
