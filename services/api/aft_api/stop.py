"""The stop of a process: asked for once, seen by whoever goes in rounds, felt by whoever waits for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Stopped(Exception):
    """The process is about to end; what was waited for is taken up by the next one."""


class Stop:
    """Whether the process is to end."""

    def __init__(self) -> None:
        self._is_asked = False
        self._waits: set[asyncio.Timeout] = set()

    @property
    def is_asked(self) -> bool:
        """Whether somebody has asked for it."""
        return self._is_asked

    def ask(self) -> None:
        """Ask for the stop; asking again changes nothing."""
        if self._is_asked:
            return
        self._is_asked = True
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def breaks_off(self) -> AsyncIterator[None]:
        """Leave the body where it waits as soon as the stop is asked for.

        Raises:
            Stopped: it was left.
        """
        try:
            async with asyncio.timeout(0 if self._is_asked else None) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError as error:
            if not wait.expired():
                raise  # the body's own
            raise Stopped from error

    async def sleep(self, seconds: float) -> None:
        """Sleep, or less when the stop is asked for."""
        with suppress(Stopped):
            async with self.breaks_off():
                await asyncio.sleep(seconds)
