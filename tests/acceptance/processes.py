"""The two real processes, to be started, killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ENDED = {"succeeded", "failed", "stopped"}


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Service:
    """One process that can be killed and started again on the same port and data."""

    module: str
    environment: dict[str, str]
    health_url: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it need not be well yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_well(self, within_s: float = 60.0) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(self.health_url, timeout=2).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"{self.module} was not well within {within_s:.0f} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(kw_only=True)
class Deployment:
    """One API and one worker on a folder, and a client."""

    api: Service
    worker: Service
    client: httpx.Client
    seen: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start both and wait until they are well."""
        for service in (self.worker, self.api):
            service.start()
        for service in (self.worker, self.api):
            service.wait_well()

    def submit(self, spec: dict[str, Any]) -> str:
        """Start a run; its id."""
        response = self.client.post("/runs", json=spec)
        assert response.status_code == 201, response.text
        return str(response.json()["run_id"])

    def get(self, path: str, **params: Any) -> Any:
        """What the API says; asked again while it is away."""
        for _ in range(300):
            try:
                response = self.client.get(path, params=params)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            assert response.status_code == 200, response.text
            return response.json()
        raise AssertionError(f"no answer from {path}")

    def until(self, run_id: str, *statuses: str, within_s: float = 150.0) -> dict[str, Any]:
        """The run once it has one of these statuses."""
        deadline = time.monotonic() + within_s
        while (run := self.get(f"/runs/{run_id}"))["status"] not in statuses:
            assert run["status"] not in ENDED, (run, self.logs())
            assert time.monotonic() < deadline, (run, self.logs())
            time.sleep(0.1)
        return dict(run)

    def windows(self, run_id: str) -> list[dict[str, Any]]:
        """The run's windows with their results."""
        return list(self.get(f"/runs/{run_id}/windows")["windows"])

    def logs(self) -> str:
        """What both processes printed."""
        return "\n".join(service.log.read_text()[-4000:] for service in (self.api, self.worker))


@contextmanager
def deployment(folder: Path, compiled: Path, database_url: str | None = None) -> Iterator[Deployment]:
    """API and worker on `folder`, stopped at the end whatever happens; `compiled` keeps what JAX has compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    api_port, worker_port = free_port(), free_port()
    api_environment = {
        "AFT_PORT": str(api_port),
        "AFT_DATA_DIR": str(folder / "api"),
        "AFT_WORKER_URLS": f'["http://127.0.0.1:{worker_port}"]',
        "AFT_RETRY_S": "0.2",
        "AFT_LEASE_S": "3",
    }
    if database_url is not None:
        api_environment["AFT_DATABASE_URL"] = database_url
    both = Deployment(
        api=Service(
            module="aft_api",
            environment=api_environment,
            health_url=f"http://127.0.0.1:{api_port}/healthz",
            log=folder / "api.log",
        ),
        worker=Service(
            module="aft_worker",
            environment={
                "AFT_WORKER_PORT": str(worker_port),
                "AFT_WORKER_ROOT": str(folder / "worker"),
                "AFT_WORKER_WORKER_ID": "acceptance",
                "AFT_WORKER_JAX_CACHE_DIR": str(compiled),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
            health_url=f"http://127.0.0.1:{worker_port}/v1/healthz",
            log=folder / "worker.log",
        ),
        client=httpx.Client(base_url=f"http://127.0.0.1:{api_port}", timeout=30),
    )
    try:
        yield both
    finally:
        both.client.close()
        both.api.stop()
        both.worker.stop()
