"""Wall-clock time, handed in so that tests can move it, and the event loop's, which nobody moves."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the current moment, aware and in UTC."""


def utc_now() -> datetime:
    """The machine's current moment in UTC."""
    return datetime.now(UTC)


def loop_s() -> float:
    """Seconds by the clock of the running event loop, for spans of time."""
    return asyncio.get_running_loop().time()
