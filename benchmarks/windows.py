"""Supervised windows of a session, timed from the call to the end of their last step, and from there to the commit."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


class Window(Unattended):
    """Trains a session's windows, one after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._index = self._step = 0
        self._trained_at = 0.0
        self.commit_s: list[float] = []
        """How long each window's commit took."""
        self.losses: list[float] = []
        """Loss of each step of the last window, in nats per token."""

    def trained(self) -> None:
        """The last step is done."""
        self._trained_at = time.perf_counter()

    def train(self, steps: int) -> float:
        """Seconds that a window of so many steps takes, its commit not counted."""
        spec = WindowSpec(
            window_id=window_id_of("run", 0, self._index),
            run_id="run",
            generation=0,
            index=self._index,
            start_step=self._step,
            num_steps=steps,
            schedule=Schedule(),
        )
        self._index, self._step = self._index + 1, self._step + steps
        started = time.perf_counter()
        result = self._session.train_window(spec, self)
        self.commit_s.append(time.perf_counter() - self._trained_at)
        self.losses = [step.loss for step in result.metrics.steps]
        return self._trained_at - started
