"""Case: what happens to one run, which may be nothing, and what a perfect observer would say about it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from aft_contracts import Schedule, Verdict
from aft_worker.data.plan import DataPlan
from aft_worker.train.state import TrainState
from benchmarks.faults.text import chats

STEPS = 240
WINDOW_STEPS = 10
FIRST_STEPS = range(100, 190)
"""Where faults begin unless they say otherwise: after every detector has armed, and early enough to do harm."""
ROWS = 2200
"""More than a run draws, so that no row comes twice."""

Row = dict[str, Any]
"""A line of a JSONL file."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is really wrong; all None and empty for a control."""

    first_step: int | None = None
    """The first harmful step."""
    verdict: Verdict | None = None
    culprits: frozenset[str] = frozenset()
    """Rows that do the harm."""


class Case:
    """A run in which nothing happens. A case is used for one run: a fault that strikes once remembers that it did."""

    name: ClassVar[str] = "clean"
    batch_size: ClassVar[int] = 8

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(f"{self.name}/{seed}")
        self.first_step = self.rng.choice(FIRST_STEPS)

    @property
    def truth(self) -> Truth:
        """What a perfect observer would say."""
        return Truth()

    @property
    def clean(self) -> "Case":
        """The same run without the fault."""
        return Case(self.seed)

    @property
    def weights(self) -> Mapping[str, float]:
        """Share of each domain."""
        return {"chat": 1.0}

    @property
    def commands(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """What an operator tells the run, each with the step from which on."""
        return ()

    def domains(self) -> dict[str, list[Row]]:
        """Training rows by domain."""
        return {"chat": self.chat_rows()}

    def chat_rows(self) -> list[Row]:
        """Rows that people wrote, another choice for each seed."""
        texts = random.Random(self.seed).sample(chats()[1000:], ROWS)
        return [{"id": f"c{i}", "text": text} for i, text in enumerate(texts)]

    def rate_factor(self, step: int) -> float:
        """What the learning rate of `step` is multiplied by."""
        del step
        return 1.0

    def recorded_factor(self, step: int) -> float:
        """What the learning rate in the record of `step` is multiplied by: a trainer that logs its rate tells it."""
        return self.rate_factor(step)

    def before(self, state: TrainState, step: int) -> TrainState:
        """The state that `step` really begins with."""
        del step
        return state

    def after(self, state: TrainState, step: int) -> TrainState:
        """The state that `step` really leaves behind."""
        del step
        return state

    def rows_at(self, step: int) -> list[int]:
        """Numbers of the chat rows that are drawn at `step`."""
        return [slot.row for slot in self._plan.slots_at(step, Schedule())]

    @cached_property
    def _plan(self) -> DataPlan:
        ids = [f"c{i}" for i in range(ROWS)]
        return DataPlan(seed=self.seed, sample_ids={"chat": ids}, weights={"chat": 1.0}, batch_size=self.batch_size)


def held_out_rows() -> list[Row]:
    """Rows that no run trains on."""
    return [{"id": f"h{i}", "text": text} for i, text in enumerate(chats()[:128])]
