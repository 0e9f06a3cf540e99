"""Turns: of the drives that have work to do, few are at work at once, so that a request finds a short queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType


class Turn:
    """One drive's turn among those of its worker; one that hangs keeps only its own drives from theirs."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns, self._is_held = turns, False

    async def __aenter__(self) -> None:
        await self._take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    @asynccontextmanager
    async def let_others(self) -> AsyncIterator[None]:
        """Let others have it while the body waits. A body that is broken off does not queue for it again."""
        was_held = self._is_held
        self._give_back()
        yield
        if was_held:
            await self._take()

    async def _take(self) -> None:
        await self._turns.acquire()
        self._is_held = True

    def _give_back(self) -> None:
        if self._is_held:
            self._is_held = False
            self._turns.release()
