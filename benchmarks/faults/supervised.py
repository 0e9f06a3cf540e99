"""Supervised: runs of cases under aft, through the real control plane and a real worker over HTTP."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from jax.sharding import Mesh

from aft_api.app import create_app as create_api
from aft_api.settings import Settings
from aft_contracts import DetectionSpec, RunSpec
from aft_worker.server import create_app as create_worker
from aft_worker.settings import WorkerSettings
from aft_worker.trainer import Trainer
from benchmarks.faults.account import Account
from benchmarks.faults.case import Case
from benchmarks.faults.faulty_trainer import case_spec
from benchmarks.faults.machinery import Machinery, scratch_folder
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.version import code_version

MOST_QUESTIONS = 6
"""Questions that the benchmark's human answers with yes; then the run is stopped."""
MOST_SECONDS = 240.0
LOOK_EVERY_S = 0.2
ENDED = ("succeeded", "failed", "stopped")


class Supervised:
    """A control plane and its worker in one process, on the loopback; one run at a time."""

    def __init__(self, machinery: Machinery, client: httpx.AsyncClient, root: Path) -> None:
        self._machinery, self._client, self._root = machinery, client, root
        self.cases: dict[str, Case] = {}

    async def outcome(self, case: Case) -> Outcome:
        """What comes of the case's run."""
        started = time.perf_counter()
        run_id, questions = await self.run(case)
        seconds = time.perf_counter() - started
        account = await self._account(run_id)
        shutil.rmtree(self._root / "worker" / run_id, ignore_errors=True)  # twenty runs of checkpoints are too many
        return account.outcome(case, DetectionSpec(), version=code_version(), questions=questions, seconds=seconds)

    async def run(self, case: Case) -> tuple[str, int]:
        """The case's run, ended, and how many questions it asked."""
        name = f"{case.name}-{case.seed}-{len(self.cases)}"
        self.cases[name] = case
        spec = case_spec(case, self._root / "data" / name, name=name)
        answer = await self._client.post("/runs", content=spec.model_dump_json())
        assert answer.status_code == 201, answer.text
        run_id = answer.json()["run_id"]
        return run_id, await self._accompany(run_id, case)

    async def _accompany(self, run_id: str, case: Case) -> int:
        """Gives the operator's commands, answers questions, and waits for the end; how many questions there were."""
        commands, answered = list(case.commands), set[str]()
        deadline = time.monotonic() + MOST_SECONDS
        stopped = False
        while (run := await self.get(f"/runs/{run_id}"))["status"] not in ENDED:
            while commands and run["step"] >= commands[0][0]:
                await self._command(run_id, commands.pop(0)[1])
            review_id = run["review_id"]
            is_over = len(answered) >= MOST_QUESTIONS or time.monotonic() > deadline
            if is_over and not stopped:
                await self._command(run_id, {"kind": "stop"})
                stopped = True
            elif review_id is not None and review_id not in answered:
                answered.add(review_id)
                await self._command(run_id, {"kind": "resume", "review_id": review_id, "answer": "approve"})
            await asyncio.sleep(LOOK_EVERY_S)
        return len(answered)

    async def _account(self, run_id: str) -> Account:
        return Account(
            run=await self.get(f"/runs/{run_id}"),
            events=await self._events(run_id),
            windows=(await self.get(f"/runs/{run_id}/windows"))["windows"],
            diagnoses=(await self.get(f"/runs/{run_id}/diagnoses"))["diagnoses"],
        )

    async def _events(self, run_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while page := (await self.get(f"/runs/{run_id}/events?limit=1000&after={_last_seq(events)}"))["events"]:
            events += page
        return events

    async def _command(self, run_id: str, command: dict[str, Any]) -> None:
        answer = await self._client.post(f"/runs/{run_id}/commands", content=json.dumps(command))
        # Between the last look and this the run may have ended.
        assert answer.status_code == 202 or answer.json().get("code") == "run_finished", answer.text

    async def get(self, path: str) -> Any:
        """What the API answers."""
        answer = await self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def supervised(machinery: Machinery) -> AsyncIterator[Supervised]:
    """Both services, from start to end."""
    async with AsyncExitStack() as stack:
        root = stack.enter_context(scratch_folder())
        client = await stack.enter_async_context(
            httpx.AsyncClient(timeout=60, headers={"Content-Type": "application/json"})
        )
        here = Supervised(machinery, client, root)

        def open_trainer(spec: RunSpec, _: Mesh) -> Trainer:
            return machinery.open(here.cases[spec.name], spec)

        worker = create_worker(WorkerSettings(root=root / "worker"), open_trainer=open_trainer)
        worker_url = await stack.enter_async_context(_serving(worker))
        api = create_api(Settings(data_dir=root / "api", worker_urls=(worker_url,), retry_s=0.1))
        client.base_url = await stack.enter_async_context(_serving(api))
        yield here


@asynccontextmanager
async def _serving(app: FastAPI) -> AsyncIterator[str]:
    """Base URL of the app on a free port of the loopback."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="on"))
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 -- uvicorn tells nobody
        await asyncio.sleep(0.01)
    assert server.started, "the server did not start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def _last_seq(events: list[dict[str, Any]]) -> int:
    return events[-1]["seq"] if events else 0
