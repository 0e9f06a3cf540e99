"""`aft up`: starts both services, keeps them alive, and leaves nothing behind.

The services are stand-ins that answer their health check at once; what is tested here is the launcher.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from aft_cli.errors import ApiError
from aft_cli.launcher import LocalStack, StackPlan, _child_specs, pick_port

STAND_IN = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "{health}"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(repr(sorted(name for name in os.environ if name.startswith("AFT_"))).encode())
    def log_message(self, *_):
        pass
http.server.HTTPServer((os.environ["{prefix}HOST"], int(os.environ["{prefix}PORT"])), Handler).serve_forever()
"""
UP = """
import runpy, signal
# A shell starts its background jobs deaf to SIGINT, and whoever they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("aft_cli", run_name="__main__", alter_sys=True)
"""
BROKEN = "raise SystemExit('no room on the device')"


def _write_service(folder: Path, package: str, code: str) -> None:
    (folder / package).mkdir(parents=True, exist_ok=True)
    (folder / package / "__init__.py").touch()
    (folder / package / "__main__.py").write_text(code)


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with stand-ins for both services."""
    folder = tmp_path / "services"
    _write_service(folder, "aft_api", STAND_IN.format(prefix="AFT_", health="/healthz"))
    _write_service(folder, "aft_worker", STAND_IN.format(prefix="AFT_WORKER_", health="/v1/healthz"))
    return folder


@pytest.fixture
def plan(tmp_path: Path, services: Path) -> StackPlan:
    """A stack on free ports."""
    return StackPlan(data_dir=tmp_path / "kept", api_port=0, worker_port=0, environment={"PYTHONPATH": str(services)})


@pytest.fixture
def up(tmp_path: Path, services: Path) -> Iterator[subprocess.Popen[str]]:
    """`aft up` as a process of its own."""
    arguments = ["up", "--data-dir", str(tmp_path / "kept"), "--port", "0", "--worker-port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", UP, *arguments],
        env=os.environ | {"PYTHONPATH": str(services), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)


def _until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _announced(up: subprocess.Popen[str]) -> tuple[str, str]:
    assert up.stdout is not None
    lines = [up.stdout.readline() for _ in range(4)]
    assert "AFT_API_URL" in lines[3]
    return lines[0].split()[1], lines[1].split()[1]


def _gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_stack_answers_when_it_is_up_and_is_gone_afterwards(plan: StackPlan) -> None:
    with LocalStack(plan) as stack:
        assert _answers(f"{stack.api_url}/healthz")
        assert _answers(f"{stack.worker_url}/v1/healthz")
        told = httpx.get(f"{stack.api_url}/healthz", trust_env=False).text
        assert {"AFT_DATA_DIR", "AFT_WORKER_URLS", "AFT_PUBLIC_URL"} <= set(re.findall(r"\w+", told))
        processes = [psutil.Process(child.pid) for child in stack.children]
    assert all(map(_gone, processes))


def test_address_that_people_reach_the_api_at_is_theirs_to_say(plan: StackPlan, tmp_path: Path) -> None:
    api_url, worker_url = "http://127.0.0.1:8800", "http://127.0.0.1:8801"
    for given in ({}, {"AFT_PUBLIC_URL": "https://aft.example"}):
        _, api = _child_specs(replace(plan, environment=given), tmp_path, api_url, worker_url)
        assert api.environment["AFT_PUBLIC_URL"] == given.get("AFT_PUBLIC_URL", api_url)


def test_dead_service_comes_back_on_the_same_address(plan: StackPlan) -> None:
    said: list[str] = []
    with LocalStack(plan) as stack:
        psutil.Process(stack.children[0].pid).kill()
        _until(lambda: stack.children[0].exit_code is not None)

        def is_back() -> bool:
            stack.tend(said.append)
            return _answers(f"{stack.worker_url}/v1/healthz")

        _until(is_back)
    assert [re.sub(r"[\d.]+", "#", words) for words in said] == [
        "worker ended with -#; starting it again in # s",
        "worker started again (restart #)",
    ]


def test_service_that_does_not_start_is_told_with_its_last_words_and_nothing_stays(
    plan: StackPlan, services: Path
) -> None:
    _write_service(services, "aft_api", BROKEN)
    stack = LocalStack(plan)
    with pytest.raises(ApiError, match="no room on the device") as broken:
        stack.start()
    assert broken.value.problem.code == "api_did_not_start"
    assert [child.pid for child in stack.children] == [None, None]
    LocalStack(plan).stop()  # the folder is free again


def test_folder_of_a_running_stack_is_refused(plan: StackPlan) -> None:
    with LocalStack(plan), pytest.raises(ApiError) as refused:
        LocalStack(plan)
    assert refused.value.problem.code == "data_dir_in_use"
    assert str(plan.data_dir) in refused.value.problem.detail


def test_taken_port_gives_way_to_a_free_one_unless_it_is_wanted() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert pick_port("127.0.0.1", None, preferred=taken) != taken
        assert pick_port("127.0.0.1", taken, preferred=1) == taken
    assert pick_port("127.0.0.1", None, preferred=taken) == taken
    assert pick_port("127.0.0.1", None, preferred=taken, taken=taken) != taken


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_up_and_all_it_started(up: subprocess.Popen[str], ending: signal.Signals) -> None:
    api_url, worker_url = _announced(up)
    children = psutil.Process(up.pid).children()
    assert len(children) == 2
    assert _answers(f"{api_url}/healthz")
    assert _answers(f"{worker_url}/v1/healthz")
    up.send_signal(ending)
    assert up.wait(timeout=20) == 0
    assert all(map(_gone, children))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot tie a child's life to its parent's")
def test_killed_up_takes_its_services_along(up: subprocess.Popen[str]) -> None:
    _announced(up)
    children = psutil.Process(up.pid).children()
    assert len(children) == 2
    up.kill()
    _until(lambda: all(map(_gone, children)))


def test_api_and_worker_share_a_secret_that_nobody_else_has(plan: StackPlan) -> None:
    def told(stack: LocalStack) -> set[str]:
        return {child.spec.environment["AFT_WORKER_TOKEN"] for child in stack.children}

    with LocalStack(plan) as first:
        [one] = told(first)
    with LocalStack(plan) as second:
        [other] = told(second)
    assert one != other
    assert len(one) >= 43
