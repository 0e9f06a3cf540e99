"""The API with a simulated worker behind it, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from aft_api.app import create_app
from aft_api.clock import utc_now
from aft_api.db.engine import Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.runs.repository import note_run
from aft_api.runs.service import Caller, start_run
from aft_api.settings import Settings
from aft_contracts import RunSpec
from tests.simulated_worker import SimulatedWorker, simulated_app

ENDED = {"succeeded", "failed", "stopped"}


@asynccontextmanager
async def serving(app: FastAPI, *, port: int = 0, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    """Base URL of `app`, served on a free port of the loopback, or on `port`."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan=lifespan))
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    assert not task.done(), "the server did not start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running API, its worker, and a client of it."""

    app: FastAPI
    worker: SimulatedWorker
    client: httpx.AsyncClient

    async def start(self, **changes: Any) -> str:
        """Start a run; its id."""
        response = await self.client.post("/runs", json=spec_json(**changes))
        assert response.status_code == 201, response.text
        return response.json()["run_id"]

    async def run(self, run_id: str) -> dict[str, Any]:
        """The run as clients see it."""
        response = await self.client.get(f"/runs/{run_id}")
        assert response.status_code == 200, response.text
        return response.json()

    async def until(self, run_id: str, *statuses: str, within_s: float = 30.0) -> dict[str, Any]:
        """The run once it has one of these statuses."""
        async with asyncio.timeout(within_s):
            while (run := await self.run(run_id))["status"] not in statuses:
                assert run["status"] not in ENDED, run
                await asyncio.sleep(0.1)
        return run

    async def events(self, run_id: str, kind: str | None = None) -> list[dict[str, Any]]:
        """What happened to it, in order."""
        response = await self.client.get(f"/runs/{run_id}/events", params={"limit": 1000})
        return [event for event in response.json()["events"] if kind in (None, event["kind"])]

    async def command(self, run_id: str, kind: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """Tell the run something."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(f"/runs/{run_id}/commands", json={"kind": kind, **body}, headers=headers)


def spec_json(**changes: Any) -> dict[str, Any]:
    """A small run spec, with top-level parts replaced."""
    spec: dict[str, Any] = {
        "name": "test",
        "model": {"path": "/models/tiny"},
        "data": {"domains": {"chat": {"path": "/data/chat.jsonl"}}, "evaluation": {"chat": "/data/held_out.jsonl"}},
        "optim": {"steps": 60, "batch_size": 4},
    }
    return {**spec, **changes}


async def placed_run(store: Store) -> str:
    """A run that has a worker, as the queue gives it one: it may be claimed."""
    spec, caller = RunSpec.model_validate(spec_json()), Caller(user="u", channel="api")
    run_id = await start_run(store, spec, idempotency_key=None, caller=caller, clock=utc_now)
    async with store.sessions.begin() as session:
        await note_run(session, run_id, worker_id="w")
    return run_id


def settings_for(data_dir: Path, database_url: str | None, worker_url: str, **changes: Any) -> Settings:
    """Settings with short waits."""
    return Settings(
        data_dir=data_dir,
        database_url=database_url,
        worker_urls=(worker_url,),
        worker_look_s=0.2,
        poll_s=1.0,
        retry_s=0.05,
        lease_s=10.0,
        outgoing_allow=("127.0.0.0/8",),
        **changes,
    )


@asynccontextmanager
async def running_api(settings: Settings, worker: SimulatedWorker, **wiring: Any) -> AsyncIterator[Api]:
    """The API with its lifespan, on a port of its own; `wiring` is more of what `create_app` takes."""
    app = create_app(settings, **wiring)
    async with (
        serving(app, lifespan="on") as url,
        httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield Api(app=app, worker=worker, client=client)


@pytest.fixture
async def store(tmp_path: Path, database_url: str | None) -> AsyncIterator[Store]:
    """A migrated store."""
    upgrade(database_url, tmp_path)
    opened = open_store(database_url, tmp_path)
    yield opened
    await opened.engine.dispose()


@pytest.fixture
def worker() -> SimulatedWorker:
    """A worker that trains nothing."""
    return SimulatedWorker()


@pytest.fixture
async def worker_url(worker: SimulatedWorker) -> AsyncIterator[str]:
    """Where it listens."""
    async with serving(simulated_app(worker)) as url:
        yield url


@pytest.fixture
async def local_api(tmp_path: Path, worker: SimulatedWorker, worker_url: str) -> AsyncIterator[Api]:
    """The API on the embedded store alone, for what does not depend on the store."""
    async with running_api(settings_for(tmp_path, None, worker_url), worker) as running:
        yield running


@pytest.fixture
async def api(tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str) -> AsyncIterator[Api]:
    """The API on each store."""
    async with running_api(settings_for(tmp_path, database_url, worker_url), worker) as running:
        yield running
