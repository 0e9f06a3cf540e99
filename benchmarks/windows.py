"""Supervised windows of a session, and where their time goes."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aft_contracts import Schedule, WindowSpec, window_id_of
from aft_worker.control import Unattended
from aft_worker.session import Session
from aft_worker.trainer import Trainer
from benchmarks.models import CACHE


@contextmanager
def open_session(trainer: Trainer) -> Iterator[Session]:
    """A session in a folder of its own, which is removed in the end."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        session = Session(trainer, Path(folder) / "run")
        try:
            yield session
        finally:
            session.close()


@dataclass(frozen=True, kw_only=True)
class WindowTimes:
    """Where the seconds of one window went."""

    steps_s: float
    """From the call to the end of the last step."""
    ledger_s: float
    """Writing what each sample did."""
    checkpoint_s: float
    """All else, to the committed result: copy of the state, its digest, saving."""
    losses: tuple[float, ...]
    """Loss of each step, in nats per token."""


class Windows(Unattended):
    """Trains a session's windows, one after the other, each to its committed result."""

    def __init__(self, session: Session) -> None:
        self._session, self._append = session, session.ledger.append
        self._index = self._step = 0
        self._trained_at = self._ledger_s = 0.0
        # The instance's own, so that the ledger can be told from what else comes after the last step.
        session.ledger.append = self._timed_append  # type: ignore[method-assign]

    def trained(self) -> None:
        """The last step is done."""
        self._trained_at = time.perf_counter()

    def train(self, steps: int) -> WindowTimes:
        """Trains a window of so many steps."""
        spec = plain_window(self._index, self._step, steps)
        self._index, self._step = self._index + 1, self._step + steps
        started = time.perf_counter()
        result = self._session.train_window(spec, self)
        ended = time.perf_counter()
        return WindowTimes(
            steps_s=self._trained_at - started,
            ledger_s=self._ledger_s,
            checkpoint_s=ended - self._trained_at - self._ledger_s,
            losses=tuple(step.loss for step in result.metrics.steps),
        )

    def _timed_append(self, *args: Any, **kwargs: Any) -> None:
        started = time.perf_counter()
        try:
            self._append(*args, **kwargs)
        finally:
            self._ledger_s = time.perf_counter() - started


def plain_window(index: int, start_step: int, steps: int) -> WindowSpec:
    """A window of a course that nobody has changed."""
    return WindowSpec(
        window_id=window_id_of("run", 0, index),
        run_id="run",
        generation=0,
        index=index,
        start_step=start_step,
        num_steps=steps,
        schedule=Schedule(),
    )
