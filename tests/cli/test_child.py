"""A child process: started again after it died, later each time, and gone when it is stopped."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from aft_cli.child import FIRST_DELAY_S, LONGEST_DELAY_S, STEADY_AFTER_S, Child, ChildSpec

Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a child that runs some Python at time 0."""
    children: list[Child] = []

    def started(code: str) -> Child:
        spec = ChildSpec(
            name="child",
            command=(sys.executable, "-c", code),
            environment={},
            log_path=tmp_path / "logs" / "child.log",
            health_url="",
        )
        child = Child(spec=spec)
        child.start(0.0)
        children.append(child)
        return child

    yield started
    for child in children:
        child.ask_to_stop()
        child.wait_stopped(0.0)


def _until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def _die(child: Child) -> None:
    assert child.pid is not None
    psutil.Process(child.pid).kill()
    _until(lambda: child.exit_code is not None)


def test_living_child_is_left_alone(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    pid = child.pid
    assert child.tend(5.0) is None
    assert child.pid == pid


def test_dead_child_is_started_again_after_a_delay_that_doubles(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    now_s, delays = 0.0, []
    for _ in range(7):
        _die(child)
        assert "ended with -9" in (child.tend(now_s) or "")
        died_s = now_s
        while child.tend(now_s) is None:
            assert child.pid is None
            now_s += 0.5
        delays.append(now_s - died_s)
    assert delays == [FIRST_DELAY_S, 2.0, 4.0, 8.0, 16.0, LONGEST_DELAY_S, LONGEST_DELAY_S]
    assert child.restarts == 7


def test_child_that_lived_long_is_started_again_soon(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    _die(child)
    child.tend(0.0)
    child.tend(FIRST_DELAY_S)
    _die(child)
    assert f"in {FIRST_DELAY_S:g} s" in (child.tend(FIRST_DELAY_S + STEADY_AFTER_S + 1) or "")


def test_stopped_child_is_gone_with_its_own_children_even_if_it_will_not_listen(start: Start) -> None:
    child = start(
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "own = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('ready', own.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    _until(lambda: "ready" in child.log_tail())
    pids = [child.pid, int(child.log_tail().split()[-1])]
    child.ask_to_stop()
    child.wait_stopped(0.1)
    _until(lambda: not any(_runs(pid) for pid in pids))
    assert child.tend(1e6) is None, "a stopped child is not started again"


def test_what_a_child_says_is_kept_over_restarts(start: Start) -> None:
    child = start("print('hello')")
    _until(lambda: child.exit_code is not None)
    child.start(1.0)
    _until(lambda: child.exit_code is not None)
    assert child.log_tail() == "hello\nhello"


def _runs(pid: int | None) -> bool:
    return psutil.pid_exists(pid or 0) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
