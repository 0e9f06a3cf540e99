"""Machinery: model and compiled programs, made once and lent to every run."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aft_contracts import RunSpec, Schedule
from aft_worker.data.batches import held_out_batches
from aft_worker.model.mesh import make_mesh
from aft_worker.train.evaluate import EvalLoss
from aft_worker.train.state import TrainState, init_state
from aft_worker.trainer import Trainer, load_trainer
from benchmarks.faults.base_model import FOLDER
from benchmarks.faults.case import Case
from benchmarks.faults.faulty_trainer import FaultyTrainer, case_spec
from benchmarks.faults.outcome import Alarm, Outcome, finite
from benchmarks.faults.ruled_step import RuledPrograms, RuledStep
from benchmarks.faults.rules import Reading, Rule, Ruling
from benchmarks.faults.version import peer_version

KEEP_EVERY = 10
"""Steps between two states that a plain loop keeps."""
IN_MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 * 2**30


class Machinery:
    """Opens the trainers of cases, all with one model and one set of compiled programs."""

    def __init__(self) -> None:
        self._mesh = make_mesh()
        self._first: Trainer | None = None
        self._ruled: RuledPrograms | None = None
        self._eval_loss: EvalLoss | None = None
        self._undisturbed: Trained | None = None

    def open(self, case: Case, spec: RunSpec) -> FaultyTrainer:
        """The trainer of a case's run."""
        trainer = load_trainer(spec, self._mesh)
        if self._first is None:
            self._first = trainer
            self._ruled = RuledPrograms(trainer.model, spec.optim, self._mesh)
            self._eval_loss = EvalLoss(trainer.model, self._mesh)
        shared = {"model": self._first.model, "train_step": self._first.train_step}
        parts = {name: getattr(trainer, name) for name in ("spec", "mesh", "batches", "held_out", "clock")}
        return FaultyTrainer(**parts | shared, case=case)

    def under(self, rules: Sequence[Rule], case: Callable[[], Case]) -> list[Outcome]:
        """What comes of the case's run under each of somebody else's rules, in a plain loop without windows.

        Steps that are known to the last bit are not trained again: those before the fault are the undisturbed run's,
        and those before a rule first does something are the run's without supervision.
        """
        alone = self._alone(case())
        return [self._under(rule, alone, case) for rule in rules]

    def trained(self, rule: Rule, case: Case, known: "Trained | None" = None, *, until: int = 0) -> "Trained":
        """The case's run under a rule, in a plain loop; up to step `until` it goes as the `known` run did."""
        started = time.perf_counter()
        with scratch_folder() as folder:
            spec = case_spec(case, folder, name=case.name)
            trainer = self.open(case, spec)
        assert self._ruled is not None
        start = 0 if known is None else until - until % KEEP_EVERY
        readings = [] if known is None else list(known.readings[:start])
        states = {} if known is None else {step: kept for step, kept in known.states.items() if step <= start}
        ruled = RuledStep(programs=self._ruled, rule=rule, rulings=[rule.rule(reading) for reading in readings])
        trainer = replace(trainer, train_step=ruled)  # type: ignore[arg-type]
        state = states[start] if states else init_state(trainer.model, spec.optim, spec.detection)
        schedule, commands = Schedule(), dict(case.commands)
        for step in range(spec.optim.steps):
            if step in commands:
                schedule = _told(schedule, commands[step], step, spec)
            if step < start:
                continue
            if step % KEEP_EVERY == 0:
                states[step] = state
            state, record = trainer.advance(state, step, schedule)
            readings.append(Reading(loss=record.loss, grad_norm=record.grad_norm))
            if ruled.rulings[-1].ends_run:
                break
        has_ended_well = not ruled.rulings[-1].ends_run
        truth = case.truth
        outcome = Outcome(
            system=rule.name,
            case=case.name,
            seed=case.seed,
            version=peer_version(),
            steps=len(readings),
            armed_steps=0,
            first_step=truth.first_step,
            verdict=truth.verdict,
            culprits=tuple(sorted(truth.culprits)),
            status="succeeded" if has_ended_well else "stopped",
            loss=finite(self.held_out_loss(trainer, state)) if has_ended_well else None,
            seconds=round(time.perf_counter() - started, 2),
        )
        outcome = replace(outcome, **_seen_by(rule, ruled.rulings, outcome))
        return Trained(outcome=outcome, readings=readings, states=states, clip_norm=spec.optim.clip_norm)

    def _alone(self, case: Case) -> "Trained":
        """The case's run without supervision."""
        undisturbed = self._undisturbed
        if undisturbed is None or undisturbed.outcome.seed != case.seed:
            undisturbed = self._undisturbed = self.trained(Rule(), Case(case.seed))
        if type(case) is Case:
            return undisturbed
        # What is damaged before the first harmful step is damaged at the end of the step before it.
        first = case.truth.first_step
        return self.trained(Rule(), case, undisturbed if first else None, until=first - 1 if first else 0)

    def _under(self, rule: Rule, alone: "Trained", case: Callable[[], Case]) -> Outcome:
        rulings = [rule.rule(reading) for reading in alone.readings]
        felt = next((step for step, ruling in enumerate(rulings) if ruling.is_felt(alone.clip_norm)), None)
        if felt is None:
            return replace(alone.outcome, **_seen_by(rule, rulings, alone.outcome))
        return self.trained(type(rule)(), case(), alone, until=felt).outcome

    def held_out_loss(self, trainer: Trainer, state: TrainState) -> float:
        """Mean loss of the held-out rows, as the worker computes it."""
        assert self._eval_loss is not None
        nll = weight = 0.0
        batches = held_out_batches(
            trainer.held_out["held_out"],
            batch_size=trainer.spec.optim.batch_size,
            max_length=trainer.spec.data.max_length,
        )
        for tokens_BT, loss_weights_BT in batches:
            sums = jax.device_get(
                self._eval_loss(state.trainable, jnp.asarray(tokens_BT), jnp.asarray(loss_weights_BT))
            )
            nll, weight = nll + float(sums[0]), weight + float(sums[1])
        return nll / weight


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run of a plain loop, and what each of its steps measured."""

    outcome: Outcome
    readings: Sequence[Reading]
    states: Mapping[int, TrainState]
    """The state before every tenth step."""
    clip_norm: float
    """The run's own."""


def _seen_by(rule: Rule, rulings: Sequence[Ruling], run: Outcome) -> dict[str, Any]:
    """What a rule adds to the outcome of the run that it looked at; it raises its alarms at once."""
    first = run.first_step
    return {
        "system": rule.name,
        "armed_steps": max(0, run.steps - rule.armed_after),
        "harmed_after": first if first is not None and first < run.steps else None,
        "armed_before": 0 if first is None else max(0, min(first, run.steps) - rule.armed_after),
        "alarms": tuple(Alarm(step=step, after=step + 1) for step, ruling in enumerate(rulings) if ruling.alarm),
    }


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards; in memory where there is room, for nothing here must outlive a power cut."""
    in_memory = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ENOUGH_BYTES
    parent = IN_MEMORY if in_memory else FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="aft-faults-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(schedule: Schedule, command: dict[str, object], step: int, spec: RunSpec) -> Schedule:
    if command["kind"] == "set_mix":
        return schedule.with_mix(command["weights"], step=step)  # type: ignore[arg-type]
    scale = command["learning_rate"] / spec.optim.learning_rate  # type: ignore[operator]
    return schedule.with_rate(scale, step=step, rewarmup_steps=command["rewarmup_steps"])  # type: ignore[arg-type]
