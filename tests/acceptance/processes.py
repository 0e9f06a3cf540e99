"""The two real processes, to be started, killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

WORKER_TOKEN = "worker-token-of-the-acceptance-tests"
AS_API = {"Authorization": f"Bearer {WORKER_TOKEN}"}
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
        self.process.send_signal(signal.SIGCONT)  # one that is frozen hears nothing else but SIGKILL
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

    def until(
        self,
        run_id: str,
        *statuses: str,
        within_s: float = 150.0,
        until: Callable[[dict[str, Any]], bool] = lambda _: True,
    ) -> dict[str, Any]:
        """The run once it has one of these statuses, and `until` is true of it."""
        deadline = time.monotonic() + within_s
        while (run := self.get(f"/runs/{run_id}"))["status"] not in statuses or not until(run):
            assert run["status"] not in ENDED, (run, self.logs())
            assert time.monotonic() < deadline, (run, self.logs())
            time.sleep(0.1)
        return dict(run)

    def until_worker(self, worker_id: str, is_so: Callable[[dict[str, Any]], bool], within_s: float = 60.0) -> None:
        """Wait until something is true of a worker."""
        deadline = time.monotonic() + within_s
        while not any(is_so(view) for view in self.get("/workers")["workers"] if view["worker_id"] == worker_id):
            assert time.monotonic() < deadline, (self.get("/workers"), self.logs())
            time.sleep(0.1)

    def events(self, run_id: str, kind: str) -> list[dict[str, Any]]:
        """What of one kind happened to the run."""
        told = self.get(f"/runs/{run_id}/events", limit=1000)["events"]
        return [event for event in told if event["kind"] == kind]

    def windows(self, run_id: str) -> list[dict[str, Any]]:
        """The run's windows with their results."""
        return list(self.get(f"/runs/{run_id}/windows")["windows"])

    def steps_once_begun(self, window_id: str) -> int:
        """Finished steps of a window as soon as the worker has news of one; 0 while it does not know the window."""
        worker_url = self.worker.health_url.removesuffix("/healthz")
        try:
            response = httpx.get(f"{worker_url}/windows/{window_id}", params={"wait_s": 10}, headers=AS_API, timeout=20)
        except httpx.TransportError:
            time.sleep(0.005)
            return 0
        if not response.is_success:
            time.sleep(0.005)
            return 0
        view = response.json()
        return len(view["progress"]) or (view["result"] is not None and len(view["result"]["metrics"]["steps"]))

    def logs(self) -> str:
        """What both processes printed."""
        return "\n".join(service.log.read_text()[-4000:] for service in (self.api, self.worker))


@contextmanager
def deployment(
    folder: Path, compiled: Path, database_url: str | None = None, *, registers: bool = False
) -> Iterator[Deployment]:
    """API and worker on `folder`, stopped at the end whatever happens; `compiled` keeps what JAX has compiled.

    `registers` has the worker tell the API of itself, which otherwise knows of it, and makes it lost after 4 s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    api_port, worker_port = free_port(), free_port()
    api_environment = {
        "AFT_WORKER_TOKEN": WORKER_TOKEN,
        "AFT_PORT": str(api_port),
        "AFT_DATA_DIR": str(folder / "api"),
        "AFT_WORKER_URLS": f'["http://127.0.0.1:{worker_port}"]',
        "AFT_RETRY_S": "0.2",
        "AFT_LEASE_S": "3",
    }
    if database_url is not None:
        api_environment["AFT_DATABASE_URL"] = database_url
    worker_environment: dict[str, str] = {}
    if registers:
        api_environment |= {"AFT_WORKER_URLS": "[]", "AFT_WORKER_LOST_S": "4", "AFT_WORKER_LOOK_S": "0.5"}
        worker_environment = {
            "AFT_WORKER_API_URLS": f'["http://127.0.0.1:{api_port}"]',
            "AFT_WORKER_HEARTBEAT_S": "0.5",
        }
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
                "AFT_WORKER_TOKEN": WORKER_TOKEN,
                **worker_environment,
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


@contextmanager
def second_worker(aft: Deployment, folder: Path) -> Iterator[Service]:
    """Another worker on the same root, to be started; stopped at the end whatever happens."""
    port = free_port()
    other = Service(
        module="aft_worker",
        environment={
            **aft.worker.environment,
            "AFT_WORKER_PORT": str(port),
            "AFT_WORKER_WORKER_ID": "second",
        },
        health_url=f"http://127.0.0.1:{port}/v1/healthz",
        log=folder / "second.log",
    )
    try:
        yield other
    finally:
        other.stop()
