"""FaultyTrainer: a worker's trainer on a machine, a schedule or data that a case has spoiled."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from aft_contracts import (
    DataSpec,
    DomainSpec,
    ExportSpec,
    ModelSpec,
    OptimSpec,
    RunSpec,
    Schedule,
    StepRecord,
    WindowPolicy,
)
from aft_contracts.source import SourceSpec
from aft_worker.train.state import TrainState
from aft_worker.train.step import StepInputs, StepOutputs
from aft_worker.trainer import Trainer
from benchmarks.faults.base_model import LENGTH, base_model
from benchmarks.faults.case import STEPS, WINDOW_STEPS, Case, held_out_rows
from benchmarks.faults.controls import LEARNING_RATE
from benchmarks.faults.files import write_rows

Step = Callable[[TrainState, StepInputs], tuple[TrainState, StepOutputs]]


@dataclass(frozen=True, kw_only=True)
class FaultyTrainer(Trainer):
    """Trains like any other, but for what the case does to it; the rest of the worker does not know."""

    case: Case

    def advance(
        self, state: TrainState, step: int, schedule: Schedule, masked: frozenset[str] = frozenset()
    ) -> tuple[TrainState, StepRecord]:
        """The state after `step` and what it measured, both as the case has them."""
        factor = self.case.rate_factor(step)
        really = self
        if factor != 1.0:
            really = replace(self, train_step=_at_rate(self.train_step, factor))  # type: ignore[arg-type]
        state, record = super(FaultyTrainer, really).advance(self.case.before(state, step), step, schedule, masked)
        recorded = record.lr * self.case.recorded_factor(step)
        return self.case.after(state, step), record.model_copy(update={"lr": recorded})


def case_spec(case: Case, folder: Path, *, name: str) -> RunSpec:
    """The spec of the case's run, its files written into `folder`; everything about healing has its default."""
    for domain, rows in case.domains().items():
        write_rows(folder / f"{domain}.jsonl", rows)
    write_rows(folder / "held_out.jsonl", held_out_rows())
    return RunSpec(
        name=name,
        model=ModelSpec(path=str(base_model()), lora=None),
        data=DataSpec(
            domains={
                domain: DomainSpec(path=str(folder / f"{domain}.jsonl"), weight=weight)
                for domain, weight in case.weights.items()
            },
            evaluation={"held_out": SourceSpec(path=str(folder / "held_out.jsonl"))},
            max_length=LENGTH,
        ),
        optim=OptimSpec(steps=STEPS, batch_size=case.batch_size, learning_rate=LEARNING_RATE),
        window=WindowPolicy(steps=WINDOW_STEPS),
        export=ExportSpec(adapter=False),
        seed=case.seed,
    )


def _at_rate(train_step: Step, factor: float) -> Step:
    def step(state: TrainState, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        return train_step(state, replace(inputs, learning_rate=inputs.learning_rate * factor))

    return step
