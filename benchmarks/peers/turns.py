"""Both ends of a pipe over which a trainer is told to take steps; standard library only, for it runs in any Python.

The parent writes a number of steps as a line; the child takes them and answers with one line of JSON. A first answer,
without being asked, says that the child is ready.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self


class Turns:
    """The child's end."""

    def __init__(self) -> None:
        # The answers get the real stdout for themselves; what libraries print goes to stderr.
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def answer(self, said: Mapping[str, Any]) -> None:
        """Says that a turn is over, or that the child is ready."""
        self._answers.write(json.dumps(said) + "\n")
        self._answers.flush()

    def await_turn(self) -> int | None:
        """How many steps the next turn has; None when there is none any more."""
        line = sys.stdin.readline()
        return int(line) if line else None


class ChildFailed(Exception):
    """The child ended, or did not answer in time."""


class Child:
    """The parent's end."""

    def __init__(
        self, command: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts the child, with `environment` on top of this process's own."""
        self._command, self._timeout_s = command, timeout_s
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}
        )
        self.ready: dict[str, Any] = {}
        """What the child said when it was ready."""

    def __enter__(self) -> Self:
        try:
            self.ready = self._read()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def take(self, steps: int) -> dict[str, Any]:
        """What the child says of so many steps.

        Raises:
            ChildFailed: it died or took too long.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n".encode())
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        # An answer is one line, written at once, so that what can be read from can be read to its end.
        ready, _, _ = select.select([self._process.stdout], [], [], self._timeout_s)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            why = f"ended with {self._process.wait(10)}" if ready else f"said nothing for {self._timeout_s} s"
            raise ChildFailed(f"{' '.join(self._command)} {why}; its stderr says more.")
        said: dict[str, Any] = json.loads(line)
        return said

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process.stdout.close()
