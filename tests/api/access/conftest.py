"""An API that lets nobody in without a token, and a token of every kind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aft_api.access.repository import make_token
from aft_api.clock import utc_now
from aft_api.db.engine import open_store
from aft_api.db.migrate import upgrade
from aft_contracts import NewToken, Role, TokenRequest
from tests.api.conftest import Api, running_api, settings_for
from tests.simulated_worker import SimulatedWorker

WORKER_TOKEN = "worker-token-of-these-tests"


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The API, and what lets its callers in."""

    api: Api
    tokens: dict[Role, NewToken]

    def headers(self, role: Role | None) -> dict[str, str]:
        """What somebody of this role sends; None is a worker."""
        return bearer(WORKER_TOKEN if role is None else self.tokens[role].token)


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


async def made_tokens(data_dir: Path) -> dict[Role, NewToken]:
    """A token of every role, in the embedded store of this folder."""
    upgrade(None, data_dir)
    store, tokens = open_store(None, data_dir), {}
    async with store.sessions.begin() as session:
        for role in Role:
            asked = TokenRequest(name=f"the {role}", role=role, days=1)
            tokens[role] = await make_token(session, asked, by="test", clock=utc_now)
    await store.engine.dispose()
    return tokens


@pytest.fixture
async def closed(tmp_path: Path, worker: SimulatedWorker, worker_url: str) -> AsyncIterator[Closed]:
    """The API on the embedded store, with authentication required."""
    tokens = await made_tokens(tmp_path)
    settings = settings_for(
        tmp_path, None, worker_url, auth="required", worker_token=WORKER_TOKEN, requests_per_s=10_000
    )
    async with running_api(settings, worker) as api:
        yield Closed(api=api, tokens=tokens)
