"""The stream of changes: each job once, turns before steps, and gaps that say so."""

import asyncio
import time

import pytest

from aft_contracts import JobChange
from aft_worker.bell import Bell
from aft_worker.changes import Changes
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio


def change(job_id: str, status: str, step: int | None = None, *, is_turn: bool) -> JobChange:
    return JobChange(kind="windows", job_id=job_id, status=status, step=step, is_turn=is_turn)


def test_each_job_is_told_once_as_it_stands_now() -> None:
    changes = Changes(Bell())
    changes.note("windows", "a", "running")
    changes.note("windows", "b", "running")
    for step in range(1, 5):
        changes.note("windows", "a", "running", step)
    told = changes.after(changes.stream, 0)
    assert (told.seq, told.is_complete) == (6, True)
    assert told.changes == (change("b", "running", is_turn=True), change("a", "running", 4, is_turn=True))


def test_step_behind_a_known_status_is_no_turn() -> None:
    changes = Changes(Bell())
    changes.note("windows", "a", "running")
    changes.note("windows", "a", "running", 1)
    assert changes.after(changes.stream, 1).changes == (change("a", "running", 1, is_turn=False),)
    changes.note("windows", "a", "committed", 1)
    assert changes.after(changes.stream, 2).changes == (change("a", "committed", 1, is_turn=True),)
    assert changes.after(changes.stream, 3).changes == ()


def test_gap_is_told_instead_of_what_is_missing() -> None:
    changes = Changes(Bell(), most_remembered=2)
    for job_id in ("a", "b", "c"):
        changes.note("windows", job_id, "running")
    assert [changes.after(changes.stream, seq).is_complete for seq in (0, 1, 3)] == [False, True, True]
    assert not changes.after(changes.stream, 4).is_complete, "a place that this stream never reached"
    other = changes.after("another", 1)
    assert (other.is_complete, other.seq, other.stream, other.changes) == (False, 3, changes.stream, ())


async def test_steps_are_gathered_and_a_turn_is_told_at_once(ticks: Ticks) -> None:
    bell = Bell()
    bell.hang()
    changes = Changes(bell)
    changes.note("windows", "a", "running")
    loop = asyncio.get_running_loop()
    loop.call_later(0.02, changes.note, "windows", "a", "running", 1)
    began_s, first_tick_s = time.monotonic(), ticks.lived_s
    await changes.wait(changes.stream, 1, wait_s=5, steps_wait_s=0.3)
    assert time.monotonic() - began_s >= 0.3
    assert ticks.lived_s - first_tick_s < 2
    loop.call_later(0.02, changes.note, "windows", "a", "committed", 1)
    await changes.wait(changes.stream, 2, wait_s=5, steps_wait_s=5)
    assert ticks.lived_s - first_tick_s < 3


async def test_nobody_waits_on_the_stream_of_a_worker_that_restarted(ticks: Ticks) -> None:
    changes = Changes(Bell())
    began_s = ticks.lived_s
    await changes.wait("another", 0, wait_s=60, steps_wait_s=30)
    assert ticks.lived_s - began_s < 1
