"""The OpenAPI document as a list of attacks: for every role no 5xx, and nothing without permission."""

import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import requests
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode

from aft_api.access.rules import RULES, Door, may
from aft_contracts import Role
from tests.api.access.conftest import WORKER_TOKEN, bearer, made_tokens
from tests.api.conftest import running_api, serving, settings_for
from tests.simulated_worker import SimulatedWorker, simulated_app

EXAMPLES = 6
"""Requests of each kind, good and bad, for each operation and role; the time is the second bound."""
WITHIN_S = 12.0
WHO: tuple[Role | str, ...] = (*Role, "worker", "nobody")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[Role, str]]]:
    """Base URL of an API that asks for tokens, and the tokens; it runs in a thread of its own."""
    folder: Path = tmp_path_factory.mktemp("attacked")

    @asynccontextmanager
    async def whole():
        tokens = await made_tokens(folder)
        worker = SimulatedWorker()
        async with serving(simulated_app(worker)) as worker_url:
            told = settings_for(
                folder, None, worker_url, auth="required", worker_token=WORKER_TOKEN, requests_per_s=1e6
            )
            async with running_api(told, worker) as api:
                yield str(api.client.base_url).rstrip("/"), {role: made.token for role, made in tokens.items()}

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(whole()) as served:
        yield served


def is_allowed(who: Role | str, operation: APIOperation) -> bool:
    """Whether the gate is to let somebody through."""
    need = RULES[operation.method.upper(), operation.path]
    if isinstance(need, Door):
        return need is Door.OPEN or who == "worker"
    return isinstance(who, Role) and may(who, need)


# The API runs in this process and draws numbers of its own, which hypothesis takes for the strategy's.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.slow
@pytest.mark.parametrize("who", WHO)
def test_attack(attacked: tuple[str, dict[Role, str]], who: Role | str) -> None:
    base_url, tokens = attacked
    known = {**tokens, "worker": WORKER_TOKEN}
    headers = bearer(known[who]) if who in known else {}
    admin = bearer(tokens[Role.ADMIN])
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json", headers=admin)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    ends_s, tried = time.monotonic() + WITHIN_S, 0
    with requests.Session() as session:
        session.trust_env = False
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for operation in operations:
                if time.monotonic() > ends_s:
                    break
                tried += attack(operation, mode, who, base_url, headers, session)
    assert tried >= len(operations), f"{tried} requests in {WITHIN_S} s"


def attack(
    operation: APIOperation, mode: GenerationMode, who: Role | str, base_url: str, headers: dict[str, str],
    session: requests.Session,
) -> int:  # fmt: skip
    """Send some requests; how many those were."""
    sent = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(mode))
    def once(case: Case) -> None:
        nonlocal sent
        if isinstance(case.query, dict) and "wait_s" in case.query:
            case.query["wait_s"] = 0.0  # nobody waits here
        response = case.call(base_url=base_url, headers=headers, session=session, timeout=30)
        sent += 1
        shown = f"{operation.label} as {who}: {response.status_code} {response.content[:300]!r}"
        assert response.status_code < 500, shown
        code = response.json().get("code") if b'"code"' in response.content[:2000] else None
        is_refused = code in ("not_authenticated", "not_allowed")
        if response.status_code == 405:  # a method that nobody serves
            return
        assert is_refused != is_allowed(who, operation), shown

    try:
        once()
    except Unsatisfiable:  # what takes no parameters cannot be asked wrongly
        assert mode is GenerationMode.NEGATIVE, operation.label
    return sent
