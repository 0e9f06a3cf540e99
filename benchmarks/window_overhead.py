"""What supervision costs: a whole `Session.train_window` ÷ a bare loop with the same gradient, data and optimizer.

The window is timed from the call to its committed result, less its checkpoint: data, guard, per-sample figures, records
and ledger are inside. The checkpoint (copy, digest, saving) comes once a window, however long that is, is made beside
training, and has a benchmark of its own (`checkpoint_blocking`); here it stands beside, as `checkpoint_ms`, and
`window_ratio_with_save` has it inside as if training waited for it.

The bare loop is what one would write by hand around aft's own gradient: batches made beforehand, `jit` with donation,
`optax.adamw`, the loss fetched every step. It computes nothing per sample; a second one (`same_figures`) also returns
and fetches every sample's loss and norm. The quicker of the two counts, because XLA's schedule differs with what is
asked for; `window_ratio_same_figures` is what supervision alone adds.
"""

import argparse
import copy
import sys
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import optax

from aft_contracts import Schedule, clip_norm, learning_rate
from aft_worker.session import Session
from aft_worker.train.digest import state_digest
from aft_worker.trainer import Trainer
from benchmarks import programs
from benchmarks.command import run, say
from benchmarks.pairs import Measure, interleaved, ratio_of, stopwatch
from benchmarks.report import Report, at_most, watched
from benchmarks.runs import open_trainer
from benchmarks.windows import Windows, open_session

RATIO = at_most("window_ratio", 1.03)
PART_READINGS = 15


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run, and how its windows are compared."""

    model: str
    lora: bool
    batch_size: int
    length: int
    steps: int
    """Steps a window."""
    rounds: int

    def __str__(self) -> str:
        form = "LoRA" if self.lora else "full"
        return f"{self.model} {form} B={self.batch_size} T={self.length}, {self.steps} steps"


CASES = [
    Case(model="smollm2", lora=True, batch_size=4, length=128, steps=4, rounds=6),
    Case(model="d256", lora=True, batch_size=8, length=128, steps=10, rounds=24),
    Case(model="d256", lora=False, batch_size=8, length=128, steps=10, rounds=24),
]
QUICK = [Case(model="tiny", lora=True, batch_size=2, length=32, steps=2, rounds=2)]


def measure(report: Report, _: argparse.Namespace) -> None:
    """Measures every case."""
    for case in QUICK if report.quick else CASES:
        say(str(case))
        _measure_case(report, case)


def _measure_case(report: Report, case: Case) -> None:
    trainer = open_trainer(case.model, batch_size=case.batch_size, length=case.length, lora=case.lora)
    with open_session(trainer) as session:
        windows = TimedWindows(session, case.steps)
        arms: dict[str, Measure] = {
            "window": windows,
            "bare": BareLoop(trainer, case.steps, figures=False),
            "same_figures": BareLoop(trainer, case.steps, figures=True),
        }
        timings = interleaved(arms, rounds=case.rounds, warm_ups=1)
        ledger_s, checkpoint_s = windows.ledger_s[1:], windows.checkpoint_s[1:]
        report.keep(str(case), {**timings.seconds, "ledger": ledger_s, "checkpoint": checkpoint_s})
        quicker = min(("bare", "same_figures"), key=timings.median)
        for figure, over in [(RATIO, quicker), (watched("window_ratio_same_figures"), "same_figures")]:
            ratio = timings.ratio("window", over=over)
            report.add(str(case), figure, ratio.median, ratio.interval)
        saved = [taken + more for taken, more in zip(timings.seconds["window"], checkpoint_s, strict=True)]
        ratio = ratio_of(saved, timings.seconds[quicker])
        report.add(str(case), watched("window_ratio_with_save"), ratio.median, ratio.interval)
        report.add(str(case), watched("step_ms"), 1000 * timings.median(quicker) / case.steps)
        report.add(str(case), watched("ledger_ms"), 1000 * float(np.median(ledger_s)))
        report.add(str(case), watched("checkpoint_ms"), 1000 * float(np.median(checkpoint_s)))
        for part, seconds in _parts(trainer).items():
            report.keep(str(case), {part: seconds})
            report.add(str(case), watched(f"{part}_ms"), 1000 * float(np.median(seconds)))


class TimedWindows:
    """The session's next window at every call."""

    def __init__(self, session: Session, steps: int) -> None:
        self._windows, self._steps = Windows(session), steps
        self.ledger_s: list[float] = []
        self.checkpoint_s: list[float] = []

    def __call__(self) -> float:
        """Seconds of a window, less its checkpoint."""
        times = self._windows.train(self._steps)
        self.ledger_s.append(times.ledger_s)
        self.checkpoint_s.append(times.checkpoint_s)
        return times.steps_s + times.ledger_s


class BareLoop:
    """The loop that one would write by hand."""

    def __init__(self, trainer: Trainer, steps: int, *, figures: bool) -> None:
        optim = trainer.spec.optim
        optimizer = optax.chain(
            optax.clip_by_global_norm(optim.clip_norm),
            optax.adamw(optim.learning_rate, optim.beta1, optim.beta2, optim.epsilon, weight_decay=optim.weight_decay),
        )
        self._trainer, self._step = trainer, programs.bare_step(trainer, optimizer, figures=figures)
        self._trainable = programs.first_state(trainer).trainable
        self._moments = optimizer.init(self._trainable)
        self._inputs = [jax.device_get(programs.inputs_at(trainer, step)) for step in range(steps)]

    def __call__(self) -> float:
        """Seconds for as many steps as a window has."""
        return stopwatch(self._steps)()

    def _steps(self) -> None:
        for inputs in self._inputs:
            self._trainable, self._moments, loss, figures = self._step(
                self._trainable, self._moments, self._trainer.model.frozen, inputs
            )
            jax.device_get((loss, figures))


def _parts(trainer: Trainer) -> dict[str, list[float]]:
    """Seconds of what a step costs beside its program, and of the digest that each window needs."""
    state = programs.first_state(trainer)
    inputs = programs.inputs_at(trainer, 0)
    outputs = jax.device_get(trainer.train_step(jax.tree.map(lambda leaf: leaf.copy(), state), inputs)[1])
    idle = replace(trainer, train_step=_without_program(trainer.train_step, outputs))
    steps = iter(range(10**6, 2 * 10**6))  # Each reading draws other rows: the plan remembers those it has drawn.

    def rates(step: int) -> tuple[float, float]:
        return learning_rate(trainer.spec.optim, Schedule(), step), clip_norm(trainer.spec.optim, Schedule(), step)

    parts = {
        "host": lambda: idle.advance(state, next(steps), Schedule()),
        "data": lambda: trainer.batches.batch_at(next(steps), Schedule()),
        "rates": lambda: rates(next(steps)),
        "dispatch": lambda: idle.train_step(state, inputs),
        "digest": lambda: state_digest(state),
    }
    return {name: [stopwatch(part)() for _ in range(PART_READINGS + 1)][1:] for name, part in parts.items()}


def _without_program(train_step: Any, outputs: Any) -> Any:
    """The step with all that Python does around its program, which answers at once."""
    idle = copy.copy(train_step)
    idle._compiled = lambda state, _frozen, _inputs: (state, outputs)
    return idle


if __name__ == "__main__":
    sys.exit(run("window_overhead", measure, summary=__doc__))
