"""Seconds as an event loop lived them, for tests of how long something waits on a machine that others use too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

TICK_S = 0.01


@dataclass
class Ticks:
    """Counts ticks of a hundredth of a second: whatever waits for a deadline of its own lets as many of them pass."""

    count: int = 0

    @property
    def lived_s(self) -> float:
        return self.count * TICK_S


@asynccontextmanager
async def ticking() -> AsyncIterator[Ticks]:
    """A tick that is late counts once, so a moment in which nothing ran at all is not taken for waiting."""
    ticks = Ticks()

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            ticks.count += 1

    task = asyncio.create_task(tick())
    try:
        yield ticks
    finally:
        task.cancel()
