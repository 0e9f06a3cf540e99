"""The worker's door: one credential on every route, and no start without it where others reach the worker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from aft_worker.door import NoAuthentication, refuse_open_door
from aft_worker.server import create_app
from aft_worker.settings import WorkerSettings

pytestmark = pytest.mark.anyio
TOKEN = "worker-token-of-these-tests"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """A worker with a credential; its training thread is not started."""
    return create_app(WorkerSettings(root=tmp_path, token=TOKEN, most_body_bytes=2048))


def client(app: FastAPI) -> httpx.AsyncClient:
    """Speaks to it without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://worker")


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path, with any value in the place of ids."""
    for path, methods in app.openapi()["paths"].items():
        yield from ((method.upper(), path.replace("{", "").replace("}", "")) for method in methods)
    yield from (("GET", path) for path in ("/docs", "/redoc", "/openapi.json", "/nowhere"))


@pytest.mark.parametrize("given", [None, "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer aft_x"])
async def test_every_route_but_the_probe_asks_for_it(app: FastAPI, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with client(app) as http:
        answered = {
            (method, path): (await http.request(method, path, headers=headers)).status_code
            for method, path in routes(app)
        }
    assert {place for place, status in answered.items() if status != 401} == {("GET", "/v1/healthz")}
    assert len(answered) > 15


async def test_whoever_has_it_comes_in(app: FastAPI) -> None:
    async with client(app) as http:
        http.headers["Authorization"] = f"Bearer {TOKEN}"
        assert (await http.get("/v1/worker")).status_code == 200
        assert (await http.get("/v1/runs/r1")).json()["code"] == "run_not_loaded"


async def test_long_body_is_refused(app: FastAPI) -> None:
    async def parts():
        for _ in range(10):
            yield b"x" * 1000

    async with client(app) as http:
        http.headers.update({"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
        for content in (b"x" * 10_000, parts()):
            assert (await http.post("/v1/checks", content=content)).status_code == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "worker.example"])
async def test_other_address_without_a_token_is_refused(host: str) -> None:
    with pytest.raises(NoAuthentication, match="AFT_WORKER_TOKEN"):
        refuse_open_door(WorkerSettings(host=host))
    refuse_open_door(WorkerSettings(host=host, token=TOKEN))
    refuse_open_door(WorkerSettings(host="127.0.0.1"))


@pytest.mark.parametrize(("module", "prefix"), [("aft_worker", "AFT_WORKER_"), ("aft_api", "AFT_")])
def test_process_ends_at_once_and_says_why(module: str, prefix: str, tmp_path: Path) -> None:
    told = {f"{prefix}HOST": "0.0.0.0", f"{prefix}PORT": "0", "AFT_DATA_DIR": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AFT_")} | told
    ended = subprocess.run(
        [sys.executable, "-m", module], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "which others can reach" in ended.stderr
    assert "Traceback" not in ended.stderr
