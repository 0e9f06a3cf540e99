"""The local stack behind `aft up`: one API and one worker as child processes."""

import fcntl
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from aft_cli.child import Child, ChildSpec
from aft_cli.errors import local_problem

DEFAULT_API_PORT = 8800
DEFAULT_WORKER_PORT = 8801
WORKER_HOST = "127.0.0.1"
"""Only the API beside it speaks to the worker, wherever the API itself listens."""
START_TIMEOUT_S = 120.0
STOP_GRACE_S = 30.0
"""The worker finishes its step first, for which it has 20 s of its own."""


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Where the stack lies and listens; a port of None is the default one, or a free one if that is taken."""

    data_dir: Path
    host: str = "127.0.0.1"
    api_port: int | None = None
    worker_port: int | None = None
    environment: Mapping[str, str] | None = None


class LocalStack:
    """An API and a worker that live as long as this does: `with LocalStack(plan) as stack`."""

    def __init__(self, plan: StackPlan) -> None:
        self._lock, self.data_dir = _lock(plan.data_dir), plan.data_dir.resolve()
        api_port = pick_port(plan.host, plan.api_port, preferred=DEFAULT_API_PORT)
        worker_port = pick_port(WORKER_HOST, plan.worker_port, preferred=DEFAULT_WORKER_PORT, taken=api_port)
        self.api_url, self.worker_url = _url(plan.host, api_port), _url(WORKER_HOST, worker_port)
        # The lock is inherited: it holds as long as any of the three processes lives.
        self.children = [
            Child(spec=spec, keep_open=(self._lock.fileno(),))
            for spec in _child_specs(plan, self.data_dir, self.api_url, self.worker_url)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start both and wait until both answer; on failure nothing is left running."""
        try:
            for child in self.children:
                child.start(time.monotonic())
            for child in self.children:
                _wait_healthy(child, time.monotonic() + timeout_s)
        except BaseException:
            self.stop()
            raise

    def tend(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start again what has died; to be called often, from the thread that started the stack."""
        for child in self.children:
            words = child.tend(time.monotonic())
            if words:
                say(words)

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop both, kindly first."""
        deadline_s = time.monotonic() + grace_s
        for child in self.children:
            child.ask_to_stop()
        for child in self.children:
            child.wait_stopped(deadline_s - time.monotonic())
        self._lock.close()


def pick_port(host: str, wanted: int | None, *, preferred: int, taken: int | None = None) -> int:
    """The port to listen on: the wanted one; for None the preferred one if it is free; for 0, or else, any free one."""
    if wanted:
        return wanted
    if wanted is None and preferred != taken and _is_free(host, preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _child_specs(plan: StackPlan, data_dir: Path, api_url: str, worker_url: str) -> tuple[ChildSpec, ChildSpec]:
    base = dict(os.environ) | dict(plan.environment or {})
    # Shared by these two processes and by nobody else, unless other workers are meant to join them.
    base.setdefault("AFT_WORKER_TOKEN", secrets.token_urlsafe(32))
    worker = {
        "AFT_WORKER_HOST": WORKER_HOST,
        "AFT_WORKER_PORT": worker_url.rsplit(":", 1)[1],
        "AFT_WORKER_ROOT": str(data_dir / "worker"),
    }
    api = {
        "AFT_HOST": plan.host,
        "AFT_PORT": api_url.rsplit(":", 1)[1],
        "AFT_PUBLIC_URL": base.get("AFT_PUBLIC_URL", api_url),
        "AFT_DATA_DIR": str(data_dir / "api"),
        "AFT_WORKER_URLS": json.dumps([worker_url]),
    }
    return (
        ChildSpec(
            name="worker",
            command=(sys.executable, "-m", "aft_worker"),
            environment=base | worker,
            log_path=data_dir / "logs" / "worker.log",
            health_url=f"{worker_url}/v1/healthz",
        ),
        ChildSpec(
            name="api",
            command=(sys.executable, "-m", "aft_api"),
            environment=base | api,
            log_path=data_dir / "logs" / "api.log",
            health_url=f"{api_url}/healthz",
        ),
    )


def _wait_healthy(child: Child, deadline_s: float) -> None:
    with httpx.Client(timeout=2.0, trust_env=False) as http:
        while True:
            if child.exit_code is not None:
                raise local_problem(
                    f"{child.spec.name}_did_not_start",
                    f"The {child.spec.name} did not start",
                    f"It ended with {child.exit_code}. Its last words, from {child.spec.log_path}:\n{child.log_tail()}",
                )
            if _answers(http, child.spec.health_url):
                return
            if time.monotonic() > deadline_s:
                raise local_problem(
                    f"{child.spec.name}_did_not_start",
                    f"The {child.spec.name} does not answer",
                    f"{child.spec.health_url} stayed silent. See {child.spec.log_path}:\n{child.log_tail()}",
                )
            time.sleep(0.1)


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).is_success
    except httpx.TransportError:
        return False


def _lock(data_dir: Path) -> IO[bytes]:
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = (data_dir / "up.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        lock.close()
        raise local_problem(
            "data_dir_in_use",
            "Another stack uses this folder",
            f"{data_dir.resolve()} is locked by a running `aft up`. Stop that one, or give --data-dir another folder.",
        ) from held
    return lock


def _url(host: str, port: int) -> str:
    return f"http://{host}:{port}"


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
