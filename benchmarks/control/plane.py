"""The control plane under measurement: Postgres, a simulated worker, and API processes on them."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.control.process import Process, free_port
from benchmarks.postgres import postgres

STEPS = 10
"""Optimizer steps a window."""
STARTED_AT_ONCE = 16
END = ("succeeded", "failed", "stopped")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands, as its row says."""

    step: int
    status: str
    owner: str | None


@dataclass(kw_only=True)
class Plane:
    """All processes but Postgres, which has its own keeper."""

    database_url: str
    worker: Process
    lease_s: float
    folder: Path
    stack: ExitStack
    api: Process = field(init=False)
    """The one that clients speak to now."""

    def start_api(self) -> Process:
        """Another API process on the same store."""
        port = free_port()
        process = Process(
            arguments=("aft_api",),
            health_path="/healthz",
            log=self.folder / f"api-{port}.log",
            port=port,
            environment={
                "AFT_PORT": str(port),
                "AFT_DATA_DIR": str(self.folder / "api"),
                "AFT_DATABASE_URL": self.database_url,
                "AFT_WORKER_URLS": f'["{self.worker.url}"]',
                "AFT_LEASE_S": str(self.lease_s),
            },
        )
        self.stack.callback(process.stop)
        process.start()
        return process

    async def start_runs(self, count: int, *, windows: int, name: str = "scale") -> list[str]:
        """Start runs of so many windows; their ids."""
        gate = asyncio.Semaphore(STARTED_AT_ONCE)
        spec = spec_json(windows, name)
        async with httpx.AsyncClient(base_url=self.api.url, timeout=60) as client:

            async def start() -> str:
                async with gate:
                    response = await client.post("/runs", json=spec)
                response.raise_for_status()
                return str(response.json()["run_id"])

            return list(await asyncio.gather(*(start() for _ in range(count))))

    def hold_windows(self, *, held: bool) -> None:
        """Whether the worker lets windows begin."""
        httpx.put(f"{self.worker.url}/simulation/held", json=held, timeout=30).raise_for_status()

    def trainings(self) -> dict[str, Any]:
        """What the worker has trained: `windows` so far, those that are `waiting`, and what went wrong."""
        return dict(httpx.get(f"{self.worker.url}/simulation/trainings", timeout=30).raise_for_status().json())

    def standings(self) -> dict[str, Standing]:
        """Every run, as the store has it."""
        rows = self._ask("SELECT run_id, step, status, lease_owner FROM runs")
        return {run_id: Standing(step=step, status=status, owner=owner) for run_id, step, status, owner in rows}

    def committed(self) -> int:
        """Windows that are committed in the store."""
        return int(self._ask("SELECT count(*) FROM windows WHERE status = 'committed'")[0][0])

    def anomalies(self) -> int:
        """Anomalies that were found; a healthy benchmark has none."""
        return int(self._ask("SELECT count(*) FROM events WHERE kind = 'anomaly_detected'")[0][0])

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            return connection.execute(query.encode()).fetchall()


def spec_json(windows: int, name: str) -> dict[str, Any]:
    """A run of so many windows. One with a bad row may repair nothing, so that it asks a human."""
    return {
        "name": name,
        "model": {"path": "/models/simulated"},
        "data": {"domains": {"chat": {"path": "/data/chat.jsonl"}}},
        "optim": {"steps": windows * STEPS, "batch_size": 8},
        "window": {"steps": STEPS},
        "repair": {"max_attempts_per_incident": 0},
    }


@contextmanager
def open_plane(folder: Path, *, window_s: tuple[float, float], lease_s: float) -> Iterator[Plane]:
    """A control plane of one API process; everything is stopped at the end, whatever happens."""
    with postgres(folder / "postgres") as url, ExitStack() as stack:
        port = free_port()
        worker = Process(
            arguments=("benchmarks.simulated_worker", "--port", str(port), "--window-s", *map(str, window_s)),
            health_path="/v1/healthz",
            log=folder / "worker.log",
            port=port,
        )
        stack.callback(worker.stop)
        worker.start()
        plane = Plane(database_url=url, worker=worker, lease_s=lease_s, folder=folder, stack=stack)
        plane.api = plane.start_api()
        yield plane
