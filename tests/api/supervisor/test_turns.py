"""Turns: few drives are at work at once, and one that waits keeps nobody from theirs."""

import asyncio

import pytest

from aft_api.supervisor.turns import Turn

pytestmark = pytest.mark.anyio


async def test_few_are_at_work_at_once() -> None:
    turns, at_work, most = asyncio.Semaphore(3), 0, 0

    async def work() -> None:
        nonlocal at_work, most
        async with Turn(turns):
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 3


async def test_who_waits_lets_others_have_the_turn_and_queues_again() -> None:
    turns, told, done = asyncio.Semaphore(1), asyncio.Event(), []

    async def wait() -> None:
        turn = Turn(turns)
        async with turn:
            async with turn.let_others():
                await told.wait()
            done.append("waited")

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    async with asyncio.timeout(2), Turn(turns):
        told.set()
        await asyncio.sleep(0.01)
        done.append("worked")
    await waiting
    assert done == ["worked", "waited"]


async def test_a_wait_that_is_broken_off_gives_nothing_back_twice() -> None:
    turns = asyncio.Semaphore(1)

    async def wait() -> None:
        turn = Turn(turns)
        async with turn, turn.let_others():
            await asyncio.sleep(3600)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(2):
        await turns.acquire()
    assert turns.locked(), "one turn there is, and one only"


async def test_cancelled_in_the_queue_nothing_is_given_back() -> None:
    turns = asyncio.Semaphore(1)
    async with Turn(turns):

        async def queue() -> None:
            async with Turn(turns):
                raise AssertionError("the turn is somebody else's")

        queued = asyncio.create_task(queue())
        await asyncio.sleep(0)
        queued.cancel()
        await asyncio.wait([queued])
        assert queued.cancelled()
        assert turns.locked()
    assert not turns.locked()
