"""Processes of the API that share a Postgres, and what is in it."""

import asyncio
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.acceptance.processes import Service, free_port
from tests.api.conftest import spec_json


@dataclass(kw_only=True)
class Replica:
    """One process of the API."""

    service: Service
    url: str

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.service.process is not None
        return self.service.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.service.process is not None
        self.service.process.send_signal(number)

    @property
    def log(self) -> str:
        """What it printed."""
        return self.service.log.read_text()


@dataclass(kw_only=True)
class Replicas:
    """The API, several times."""

    folder: Path
    database_url: str
    worker_url: str
    started: list[Replica] = field(default_factory=list)

    async def start(self, **settings: Any) -> Replica:
        """Another replica, once it is well."""
        port, name = free_port(), f"api-{len(self.started)}"
        environment = {
            "AFT_PORT": str(port),
            "AFT_DATA_DIR": str(self.folder / name),
            "AFT_DATABASE_URL": self.database_url,
            "AFT_WORKER_URLS": f'["{self.worker_url}"]',
            "AFT_RETRY_S": "0.1",
            "AFT_POLL_S": "1",
            "AFT_OUTGOING_ALLOW": '["127.0.0.0/8"]',
            **{f"AFT_{key.upper()}": str(value) for key, value in settings.items()},
        }
        service = Service(
            module="aft_api",
            environment=environment,
            health_url=f"http://127.0.0.1:{port}/healthz",
            log=self.folder / f"{name}.log",
        )
        replica = Replica(service=service, url=f"http://127.0.0.1:{port}")
        self.started.append(replica)
        service.start()
        await asyncio.to_thread(service.wait_well)
        return replica

    async def submit(self, replica: Replica, **changes: Any) -> str:
        """Start a run through a replica; its id."""
        async with httpx.AsyncClient() as client:
            response = await client.post(f"{replica.url}/runs", json=spec_json(**changes), timeout=30)
        assert response.status_code == 201, response.text
        return str(response.json()["run_id"])

    def lease(self, run_id: str) -> tuple[int | None, int]:
        """Process id of the run's owner, and the lease's token."""
        [(owner, token)] = self.rows("SELECT lease_owner, lease_token FROM runs WHERE run_id = %s", run_id)
        return (None if owner is None else int(owner.split(":")[1])), token

    def owner(self, run_id: str) -> Replica:
        """The replica that drives the run."""
        pid, _ = self.lease(run_id)
        return next(replica for replica in self.started if replica.pid == pid)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[arg-type]

    def everything(self) -> dict[str, list[str]]:
        """Every row of every table, ours and LangGraph's, as text; leases and their sessions too."""
        tables = self.rows(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'langgraph')"
        )
        return {
            table: sorted(str(row) for (row,) in self.rows(f"SELECT t::text FROM {table} t")) for (table,) in tables
        }

    async def until(self, run_id: str, status: str, *, within_s: float = 40.0) -> None:
        """Wait until the run has this status."""
        async with asyncio.timeout(within_s):
            while self.rows("SELECT status FROM runs WHERE run_id = %s", run_id) != [(status,)]:
                await asyncio.sleep(0.05)

    def end(self) -> None:
        """Stop every process."""
        for replica in self.started:
            if replica.service.process is not None and replica.service.process.poll() is None:
                replica.signal(signal.SIGCONT)
                replica.service.stop()
