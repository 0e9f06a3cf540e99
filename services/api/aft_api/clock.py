"""Wall-clock time, handed in so that tests can move it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the current moment, aware and in UTC."""


def utc_now() -> datetime:
    """The machine's current moment in UTC."""
    return datetime.now(UTC)
