"""The whole system on one machine, each part a process of its own that can be killed, frozen and started again."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.acceptance.processes import WORKER_TOKEN, Service, free_port
from tests.chaos.disk import Disk, disk_at
from tests.chaos.disturbances import Store
from tests.chaos.own_exit import OwnExit
from tests.chaos.postgres import Postgres, postgres
from tests.chaos.proxy import Proxy, proxy
from tests.chaos.receiver import Receiver, receiver

AWAY = (httpx.TransportError,)
ASK_S = 5.0
WELL_WITHIN_S = 90.0


@dataclass(kw_only=True)
class System:
    """API replicas, a worker behind a proxy, a store, and who is told of things."""

    folder: Path
    apis: list[Service]
    worker: Service
    disk: Disk
    """The worker's."""
    proxy: Proxy
    receiver: Receiver
    postgres: Postgres | None
    api_urls: list[str]
    client: httpx.Client
    own_exits: list[OwnExit] = field(default_factory=list)

    def ask(self, method: str, path: str, *, within_s: float = WELL_WITHIN_S, **request: Any) -> httpx.Response:
        """The answer of whichever API answers; asked again while all are away or their store is.

        What is posted here carries a key, so asking again is harmless.
        """
        deadline = time.monotonic() + within_s
        while True:
            response = self.ask_once(method, path, **request)
            if response is not None:
                return response
            assert time.monotonic() < deadline, f"no API answered {method} {path} within {within_s:.0f} s"
            self.restart_what_ended()
            time.sleep(0.05)

    def ask_once(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """The answer of the first API that has one; None when none does."""
        for url in self.api_urls:
            try:
                response = self.client.request(method, url + path, **request)
            except AWAY:
                continue
            if response.status_code != 503:
                return response
        return None

    def restart_what_ended(self) -> None:
        """What a process manager does: whatever ended by itself is started again, and written down."""
        for service in (*self.apis, self.worker):
            if service.process is not None and service.process.poll() is not None:
                words = service.log.read_text()[-1500:]
                self.own_exits.append(OwnExit(module=service.module, code=service.process.returncode, words=words))
                service.start()

    def start(self) -> None:
        """Start everything and wait until it is well."""
        for service in (self.worker, *self.apis):
            service.start()
        self.wait_well()

    def wait_well(self) -> None:
        """Wait until every process answers."""
        deadline = time.monotonic() + WELL_WITHIN_S
        for service in (self.worker, *self.apis):
            while not _is_well(service):
                assert time.monotonic() < deadline, f"{service.module} is not well:\n{service.log.read_text()[-4000:]}"
                self.restart_what_ended()
                time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM to all of it."""
        for service in (*self.apis, self.worker):
            thaw(service)
            service.stop()


def freeze(service: Service) -> None:
    """SIGSTOP."""
    assert service.process is not None
    service.process.send_signal(signal.SIGSTOP)


def thaw(service: Service) -> None:
    """SIGCONT."""
    if service.process is not None and service.process.poll() is None:
        service.process.send_signal(signal.SIGCONT)


def is_frozen(service: Service) -> bool:
    """Whether it is there and does nothing."""
    assert service.process is not None
    return service.process.poll() is None and psutil.Process(service.process.pid).status() == psutil.STATUS_STOPPED


def has_been_killed(doomed: Service | Postgres) -> bool:
    """Whether it was alive until SIGKILL; Postgres looks for itself."""
    return isinstance(doomed, Postgres) or (doomed.process is not None and doomed.process.poll() == -signal.SIGKILL)


def processes_of(*folders: Path) -> list[str]:
    """Processes that were started on one of these folders and are still there."""
    return [
        f"{process.pid} {traces}"
        for process in psutil.process_iter()
        for traces in [_traces(process)]
        if process.pid != os.getpid() and any(str(folder) in traces for folder in folders)
    ]


def _traces(process: psutil.Process) -> str:
    """What tells where a process works: its words, its folder and its environment."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        told = [variable for name, variable in process.environ().items() if name.startswith("AFT_")]
        return " ".join([*process.cmdline(), process.cwd(), *told])
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _is_well(service: Service) -> bool:
    try:
        return httpx.get(service.health_url, timeout=2).is_success
    except httpx.TransportError:
        return False


@contextmanager
def system(folder: Path, compiled: Path, store: Store, *, lease_s: float, replicas: int) -> Iterator[System]:
    """The system on `folder`, nothing of it left at the end; `compiled` keeps what JAX has compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    worker_port = free_port()
    with ExitStack() as stack:
        # Not below the folder of pytest, whose rights keep the server's own user out.
        server = (
            stack.enter_context(postgres(Path(tempfile.mkdtemp(prefix="aft-chaos-"))))
            if store is Store.POSTGRES
            else None
        )
        between = stack.enter_context(proxy(worker_port))
        told = stack.enter_context(receiver())
        client = stack.enter_context(httpx.Client(timeout=ASK_S))
        apis = [_api(folder, number, f"http://127.0.0.1:{between.port}", server, lease_s) for number in range(replicas)]
        worker = _worker(folder, compiled, worker_port)
        whole = System(
            folder=folder,
            apis=[service for service, _ in apis],
            worker=worker,
            disk=stack.enter_context(disk_at(folder / "worker", worker)),
            proxy=between,
            receiver=told,
            postgres=server,
            api_urls=[url for _, url in apis],
            client=client,
        )
        try:
            yield whole
        finally:
            whole.stop()


def _api(folder: Path, number: int, worker_url: str, server: Postgres | None, lease_s: float) -> tuple[Service, str]:
    port = free_port()
    environment = {
        "AFT_PORT": str(port),
        "AFT_DATA_DIR": str(folder / f"api-{number}"),
        "AFT_WORKER_URLS": f'["{worker_url}"]',
        "AFT_RETRY_S": "0.2",
        "AFT_POLL_S": "2",
        "AFT_WORKER_TOKEN": WORKER_TOKEN,
        "AFT_OUTGOING_ALLOW": '["127.0.0.0/8"]',
        "AFT_LEASE_S": str(lease_s),
    }
    if server is not None:
        environment["AFT_DATABASE_URL"] = server.url
    url = f"http://127.0.0.1:{port}"
    return (
        Service(
            module="aft_api", environment=environment, health_url=f"{url}/healthz", log=folder / f"api-{number}.log"
        ),
        url,
    )


def _worker(folder: Path, compiled: Path, port: int) -> Service:
    return Service(
        module="aft_worker",
        environment={
            "AFT_WORKER_PORT": str(port),
            "AFT_WORKER_ROOT": str(folder / "worker"),
            "AFT_WORKER_WORKER_ID": "chaos",
            "AFT_WORKER_TOKEN": WORKER_TOKEN,
            "AFT_WORKER_SLOTS": "2",
            "AFT_WORKER_JAX_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        health_url=f"http://127.0.0.1:{port}/v1/healthz",
        log=folder / "worker.log",
    )
