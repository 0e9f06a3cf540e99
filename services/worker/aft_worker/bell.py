"""Bell: wakes long polls when something has changed, from any thread."""

import asyncio
from collections.abc import Callable


class Bell:
    """Rung by the training thread and by requests; waited for on the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung = asyncio.Event()
        self._is_silenced = False

    def hang(self) -> None:
        """Binds the bell to the running event loop."""
        self._loop, self._rung, self._is_silenced = asyncio.get_running_loop(), asyncio.Event(), False

    def ring(self) -> None:
        """Makes every waiter look again."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def silence(self) -> None:
        """Lets every waiter go, now and from now on: the worker shuts down."""
        self._is_silenced = True
        self.ring()

    async def wait_until(self, is_due: Callable[[], bool], timeout_s: float) -> None:
        """Returns once `is_due`, after `timeout_s` at the latest."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._is_silenced:
                    # Taken before looking, so that a ring between the look and the wait is not missed.
                    rung = self._rung
                    if is_due():
                        return
                    await rung.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()
