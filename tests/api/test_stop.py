"""The stop: felt at once by whoever waits."""

import asyncio

import pytest

from aft_api.stop import Stop, Stopped

pytestmark = pytest.mark.anyio


async def ask_soon(stop: Stop) -> None:
    """Ask for the stop while others wait."""
    await asyncio.sleep(0.02)
    stop.ask()
    stop.ask()


async def wait(stop: Stop) -> None:
    """Wait for longer than any test does."""
    async with stop.breaks_off():
        await asyncio.sleep(3600)


async def test_all_waits_are_left_when_the_stop_is_asked_for() -> None:
    stop = Stop()
    waits = [asyncio.create_task(wait(stop)) for _ in range(3)]
    await ask_soon(stop)
    assert [type(one) for one in await asyncio.gather(*waits, return_exceptions=True)] == [Stopped] * 3


async def test_wait_that_begins_after_the_stop_is_left_too() -> None:
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):
        await wait(stop)


async def test_body_that_runs_out_of_its_own_time_says_so() -> None:
    stop = Stop()
    with pytest.raises(TimeoutError):
        async with stop.breaks_off(), asyncio.timeout(0.01):
            await asyncio.sleep(3600)


async def test_body_that_ends_is_not_disturbed() -> None:
    stop = Stop()
    async with stop.breaks_off():
        await asyncio.sleep(0)
    stop.ask()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_sleep_is_cut_short() -> None:
    stop = Stop()
    asking = asyncio.create_task(ask_soon(stop))
    async with asyncio.timeout(5):
        await stop.sleep(3600)
    await asking
    assert stop.is_asked
