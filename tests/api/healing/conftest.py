"""Synthetic training records: clean, heavy-tailed, seeded, and easy to spoil."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from aft_api.healing.reference import SampleReference
from aft_contracts import (
    Anomaly,
    AnomalyKind,
    DetectionSpec,
    SampleRecord,
    StepRecord,
    Suspect,
    Withheld,
)


def make_sample(sample_id: str, **changes: Any) -> SampleRecord:
    facts = {"domain": "chat", "loss": 3.5, "grad_norm": 1.0, "tokens": 32} | changes
    return SampleRecord(sample_id=sample_id, **facts)


def make_step(step: int, **changes: Any) -> StepRecord:
    withheld: Withheld | None = changes.get("withheld")
    facts = {
        "loss": 3.5, "grad_norm": 1.0, "lr": 1e-4, "clip_norm": 1.0, "tokens": 128, "applied": withheld is None,
        "seconds": 0.1,
    } | changes  # fmt: skip
    return StepRecord(step=step, **facts)


def make_anomaly(step: int, kind: AnomalyKind = AnomalyKind.LOSS_SPIKE, **changes: Any) -> Anomaly:
    facts = {"value": 9.0, "score": 20.0, "threshold": 6.0, "applied": False} | changes
    return Anomaly(kind=kind, step=step, **facts)


def make_suspect(sample_id: str, step: int, **changes: Any) -> Suspect:
    facts = {"domain": "chat", "loss": 11.0, "grad_norm": 9.0, "score": 15.0} | changes
    return Suspect(sample_id=sample_id, step=step, **facts)


@dataclass(frozen=True)
class Trainer:
    """Draws steps as a small language model makes them: token losses are gamma, rows lognormal in length."""

    rng: np.random.Generator
    rows: int = 4
    domains: tuple[str, ...] = ("chat", "code")

    def row(self, sample_id: str, level: float) -> SampleRecord:
        tokens = int(np.clip(np.exp(self.rng.normal(3.2, 0.9)), 2, 200))
        mean = level + self.rng.normal(0, 0.4)
        return make_sample(
            sample_id,
            domain=str(self.rng.choice(self.domains)),
            loss=float(self.rng.gamma((mean / 2.5) ** 2 * tokens, 2.5**2 / mean / tokens)),
            grad_norm=float(np.exp(self.rng.normal(0, 0.4)) * 6 / math.sqrt(tokens)),
            tokens=tokens,
        )

    def step(self, step: int, level: float = 3.5, *, instead: tuple[SampleRecord, ...] = ()) -> StepRecord:
        """A step; its first rows are replaced by `instead`."""
        kept = [self.row(f"r{step}-{row}", level) for row in range(len(instead), self.rows)]
        return of_rows(step, (*instead, *kept))

    def run(self, steps: int, level: Callable[[int], float] = lambda _: 3.5) -> list[StepRecord]:
        return [self.step(step, level(step)) for step in range(steps)]


def of_rows(step: int, rows: tuple[SampleRecord, ...]) -> StepRecord:
    """The step that a batch of these rows makes."""
    tokens = sum(row.tokens for row in rows)
    loss = sum(row.loss * row.tokens for row in rows) / tokens if tokens else 0.0
    norm = math.sqrt(sum((row.grad_norm * row.tokens / tokens) ** 2 for row in rows)) if tokens else 0.0
    return make_step(step, loss=loss, grad_norm=norm, tokens=tokens, samples=rows)


def _solved(at: Callable[[float], float | None], z: float) -> float:
    """The figure that `at` gives a score of `z`, which grows by the same for each unit."""
    low, high = at(0.0), at(1.0)
    assert low is not None
    assert high is not None
    return (z - low) / (high - low)


def loss_at(spread: SampleReference, z: float, *, step: int) -> float:
    """The loss with which a sample stands `z` robust deviations out at `step`; far above zero, as losses are."""
    return 3.0 + _solved(lambda more: spread.loss_z(make_sample("x", loss=3.0 + more), step=step), z)


def grad_norm_at(spread: SampleReference, z: float, *, step: int) -> float:
    """The same for its gradient norm, whose log is measured."""
    return math.exp(_solved(lambda log: spread.grad_norm_z(make_sample("x", grad_norm=math.exp(log)), step=step), z))


class Lab:
    """Everything a test builds records with."""

    sample = staticmethod(make_sample)
    step = staticmethod(make_step)
    anomaly = staticmethod(make_anomaly)
    suspect = staticmethod(make_suspect)
    of_rows = staticmethod(of_rows)
    loss_at = staticmethod(loss_at)
    grad_norm_at = staticmethod(grad_norm_at)

    def even_past(self) -> list[StepRecord]:
        """Steps 20 to 79 of a row each, whose losses lie evenly between 3.0 and 3.2."""
        return [of_rows(step, (make_sample(f"r{step}", loss=3.0 + 0.01 * (step % 21)),)) for step in range(20, 80)]

    def trainer(self, seed: int = 0, **changes: Any) -> Trainer:
        return Trainer(np.random.default_rng(seed), **changes)


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def spec() -> DetectionSpec:
    return DetectionSpec()
