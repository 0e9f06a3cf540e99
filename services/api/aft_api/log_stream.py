"""A stream for logs that never stops the work: what cannot be written is lost."""

from contextlib import suppress
from typing import TextIO


class LogStream:
    """Writes to another stream for as long as that works.

    Logs often share a disk with what a process writes. If that is full, a line of the log must not be what breaks the
    thread that would have told why.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or does not."""
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes, or does not."""
        with suppress(OSError, ValueError):
            self._stream.flush()
