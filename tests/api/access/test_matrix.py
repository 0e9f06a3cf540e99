"""Every route for every role, and without a token. A new route fails here until it is listed in the rules."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.routing import Route

from aft_api.access.rules import RULES, Door, may, need_of
from aft_api.app import create_app
from aft_api.settings import Settings
from aft_contracts import Role
from tests.api.access.conftest import Closed

pytestmark = pytest.mark.anyio
WHO: tuple[Role | str, ...] = (*Role, "worker", "stranger", "nobody")


def served(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that the application serves."""
    for path, methods in app.openapi()["paths"].items():
        yield from ((method.upper(), path) for method in methods)
    for route in app.routes:
        if isinstance(route, Route) and not route.include_in_schema:
            yield from ((method, route.path) for method in (route.methods or ()) if method != "HEAD")


async def test_every_route_is_listed_and_every_rule_has_a_route() -> None:
    assert set(served(create_app(Settings()))) == set(RULES)


def test_route_that_is_not_listed_is_an_admins_alone() -> None:
    assert need_of("POST", "/something/new") is Role.ADMIN
    assert need_of("DELETE", "/runs/r1") is Role.ADMIN


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.OPERATOR, {Role.VIEWER, Role.OPERATOR}),
        (Role.ADMIN, {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
    ],
)
def test_each_role_may_do_what_those_before_it_may(role: Role, allowed: set[Role]) -> None:
    assert {need for need in Role if may(role, need)} == allowed


def expected(who: Role | str, method: str, path: str) -> set[int] | None:
    """Statuses of a refusal at the gate; None where the gate lets through."""
    need = RULES[method, path]
    if need is Door.OPEN:
        return None
    if who in ("stranger", "nobody"):
        return {401}
    if need is Door.WORKER:
        return None if who == "worker" else {403}
    return None if isinstance(who, Role) and may(who, need) else {403}


@pytest.mark.parametrize("who", WHO)
async def test_matrix(closed: Closed, who: Role | str) -> None:
    headers = {
        "nobody": {},
        "stranger": {"Authorization": "Bearer aft_0123456789ab_" + "x" * 43},
        "worker": closed.headers(None),
    }.get(who) if isinstance(who, str) and not isinstance(who, Role) else closed.headers(Role(who))  # fmt: skip
    wrong = []
    for method, path in RULES:
        if (method, path) == ("DELETE", "/tokens/{token_id}"):
            address = "/tokens/000000000000"
        else:
            address = path.replace("{", "").replace("}", "")
        response = await closed.api.client.request(method, address, headers=headers, follow_redirects=False)
        refused = expected(who, method, path)
        code = response.json().get("code") if "json" in response.headers.get("content-type", "") else None
        is_refusal = code in {"not_authenticated", "not_allowed"}
        if is_refusal != (refused is not None) or (refused and response.status_code not in refused):
            wrong.append((method, path, response.status_code, code))
        if response.status_code >= 500 and response.status_code != 503:
            wrong.append((method, path, response.status_code, code))
    assert wrong == []


async def test_worker_token_opens_nothing_but_the_heartbeat(closed: Closed) -> None:
    opened = []
    for method, path in RULES:
        address = path.replace("{", "").replace("}", "")
        response = await closed.api.client.request(method, address, headers=closed.headers(None))
        if response.status_code not in (401, 403):
            opened.append(path)
    links = ["/answer/{token}"] * 2  # GET and POST: open to whoever has the token, which "x" is none of
    assert sorted(opened) == [*links, "/healthz", "/workers/{worker_id}/heartbeat"]
