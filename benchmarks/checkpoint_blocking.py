"""What saving costs training: the step time lost to handing a window over to the saver, and to its work beside.

A real session trains windows on end, each put while the one before is being saved, as the worker does with windows that
are put ahead. `blocking_ms` is from the end of a window's last step until the training thread is free; `save_ms` from
there until the checkpoint is committed: finite check, digest, Orbax, hashes, manifest. `contention_ms` is how much
longer the steps meanwhile took than as many steps with nothing beside them: cores and memory are shared.
"""

import argparse
import sys
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import jax
import numpy as np

from aft_contracts import StepRecord, WindowResult
from aft_worker.control import Unattended
from aft_worker.model.mesh import make_mesh
from aft_worker.session import Session
from aft_worker.trainer import load_trainer
from benchmarks.command import run, say
from benchmarks.pairs import median_interval
from benchmarks.report import Report, at_most, watched
from benchmarks.runs import run_spec
from benchmarks.windows import open_session, plain_window

BLOCKING = at_most("blocking_ms", 50)
QUIET_STEPS = 3
"""Steps with nothing beside them that each save is held against; a step more goes before them to settle."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run whose state is saved, and how often."""

    model: str
    batch_size: int
    length: int
    saves: int


CASES = [Case(model="d576-200mb", batch_size=2, length=64, saves=9)]
QUICK = [Case(model="tiny", batch_size=2, length=32, saves=2)]


@dataclass(kw_only=True)
class Stopwatch(Unattended):
    """Notes when a window's steps ended, its training ended, and its thread was free."""

    step_ends: list[float] = field(default_factory=list)
    trained_at: float = 0.0
    free_at: float = 0.0
    committed_at: float = 0.0

    def step_finished(self, _: StepRecord) -> None:
        """A step is done."""
        self.step_ends.append(time.perf_counter())

    def trained(self) -> None:
        """The last step is done."""
        self.trained_at = time.perf_counter()

    def committed(self, _: Future[WindowResult]) -> None:
        """The checkpoint is on disk."""
        self.committed_at = time.perf_counter()


@dataclass(frozen=True, kw_only=True)
class SaveTimes:
    """What one save took, in seconds."""

    blocking_s: float
    save_s: float
    contention_s: float
    quiet_step_s: float


class Driver:
    """Puts windows of one session."""

    def __init__(self, session: Session) -> None:
        self._session, self._step = session, 0

    def begin(self, steps: int) -> tuple[Stopwatch, Future[WindowResult]]:
        """Trains a window of so many steps and does not wait for its save."""
        spec = plain_window(self._step, self._step, steps)
        self._step += steps
        watch = Stopwatch()
        future = self._session.begin_window(spec, watch)
        watch.free_at = time.perf_counter()
        future.add_done_callback(watch.committed)
        return watch, future

    def measured_save(self, most_steps: int) -> SaveTimes:
        """One save, with as many steps beside it as it lasts, at most `most_steps`."""
        quiet, saved = self.begin(1 + QUIET_STEPS)
        beside, last = self.begin(most_steps)
        saved.result()
        last.result()
        quiet_step_s = float(np.median(np.diff(quiet.step_ends)))
        starts = [quiet.free_at, *beside.step_ends[:-1]]
        during = [
            end - start for start, end in zip(starts, beside.step_ends, strict=True) if start < quiet.committed_at
        ]
        return SaveTimes(
            blocking_s=quiet.free_at - quiet.trained_at,
            save_s=quiet.committed_at - quiet.free_at,
            contention_s=sum(during) - len(during) * quiet_step_s,
            quiet_step_s=quiet_step_s,
        )


def measure(report: Report, _: argparse.Namespace) -> None:
    """Measures every case."""
    for case in QUICK if report.quick else CASES:
        _measure_case(report, case)
    report.note("contention_ms: time that steps beside one save lost to it; the training thread was not blocked then.")


def _measure_case(report: Report, case: Case) -> None:
    spec = run_spec(
        case.model,
        batch_size=case.batch_size,
        length=case.length,
        lora=False,
    )
    with open_session(load_trainer(spec, make_mesh())) as session:
        name = f"{case.model} full, {_state_bytes(session) / 1e6:.0f} MB"
        say(name)
        driver = Driver(session)
        driver.begin(2)[1].result()  # compiles
        first = driver.measured_save(2)
        most_steps = 1 + int(2 * first.save_s / first.quiet_step_s)
        times = [driver.measured_save(most_steps) for _ in range(case.saves)]
    readings = {
        "blocking_ms": [1e3 * one.blocking_s for one in times],
        "save_ms": [1e3 * one.save_s for one in times],
        "contention_ms": [1e3 * one.contention_s for one in times],
        "step_ms": [1e3 * one.quiet_step_s for one in times],
    }
    report.keep(name, readings)
    for figure in (BLOCKING, watched("save_ms"), watched("contention_ms"), watched("step_ms")):
        values = readings[figure.name]
        report.add(name, figure, float(np.median(values)), median_interval(values))


def _state_bytes(session: Session) -> int:
    assert session._live is not None
    return sum(leaf.nbytes for leaf in jax.tree.leaves(session._live.state))


if __name__ == "__main__":
    sys.exit(run("checkpoint_blocking", measure, summary=__doc__))
