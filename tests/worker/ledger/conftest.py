"""Ledgers made by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aft_contracts import MetricsWindow, SampleRecord, StepRecord
from aft_worker.ledger.presentations import Presentations

Seen = tuple[str, float]


def presentations_of(
    *seen: tuple[Any, ...], columns: Sequence[str] = ("sample_id", "loss"), domain: str = "d", **same: Any
) -> Presentations:
    """Presentations in the order given, a step each; `columns` say what each tuple holds, `same` holds for all."""
    given = {name: [one[at] for one in seen] for at, name in enumerate(columns)}
    n = len(seen)
    filled: dict[str, Any] = {
        "step": range(n),
        "domain": [domain] * n,
        "grad_norm": [1.0] * n,
        "accuracy": [np.nan] * n,
        "tokens": [8] * n,
        "applied": [True] * n,
    }
    filled |= {name: [value] * n for name, value in same.items()} | given
    places = sorted(set(zip(filled["domain"], filled["sample_id"], strict=True)))
    domains = sorted({place[0] for place in places})
    sample = [places.index(place) for place in zip(filled["domain"], filled["sample_id"], strict=True)]
    return Presentations(
        sample_ids=np.asarray([place[1] for place in places], dtype=object),
        domains=tuple(domains),
        domain_of=np.asarray([domains.index(place[0]) for place in places]),
        sample=np.asarray(sample, np.int64),
        step=np.asarray(filled["step"], np.int64),
        loss=np.asarray(filled["loss"], np.float64),
        grad_norm=np.asarray(filled["grad_norm"], np.float64),
        accuracy=np.asarray(filled["accuracy"], np.float64),
        tokens=np.asarray(filled["tokens"], np.int64),
        applied=np.asarray(filled["applied"], np.bool_),
    )


def window_of(start: int, *steps: Sequence[Seen], applied: bool = True, **of_samples: Any) -> MetricsWindow:
    """A window's metrics: `window_of(4, [("a", 1.0), ("b", 2.0)], ...)` has one step for each list, from 4."""
    fields: dict[str, Any] = {"domain": "d", "grad_norm": 0.5, "tokens": 8} | of_samples
    records = tuple(
        StepRecord(
            step=step,
            loss=1.0,
            grad_norm=1.0,
            lr=1e-3,
            clip_norm=1.0,
            tokens=16,
            applied=applied,
            seconds=0.1,
            samples=tuple(SampleRecord(sample_id=name, loss=loss, **fields) for name, loss in seen),
        )
        for step, seen in enumerate(steps, start)
    )
    return MetricsWindow(window_id=f"r:0:{start}", steps=records)
