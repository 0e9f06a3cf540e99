"""Robust z detector: batch loss and log gradient norm against the clean steps before them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aft_api.healing.non_finite import is_finite
from aft_api.healing.robust import log_or_none, scale_of
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord, Withheld


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one pass over a lineage found, and the steps that it trusts."""

    anomalies: tuple[Anomaly, ...]
    clean: tuple[StepRecord, ...]


def sweep(steps: Iterable[StepRecord], spec: DetectionSpec, *, armed_from: int = 0) -> Sweep:
    """Spikes in `steps` (oldest first), each step judged by the clean ones before it.

    z = (x - median) / spread over the last `history_steps` clean steps, one-sided; see `robust.scale_of` for the spread
    (Iglewicz & Hoaglin, 1993, with 6 in place of 3.5). Silent until `min_steps` clean steps since `armed_from`. A
    spike, a withheld step and a step that is not finite never join the clean ones, so no outlier hides its followers;
    `max_rejections` spikes in a row are a new level, and the statistics start over from it.

    A step that the worker's guard withheld for its loss or norm is always found; its score is infinite while there is
    no reference to measure it by.
    """
    anomalies: list[Anomaly] = []
    clean: list[StepRecord] = []
    streak: list[StepRecord] = []
    for step in steps:
        found = _spikes(step, clean[-spec.history_steps :] if len(clean) >= spec.min_steps else (), spec)
        anomalies += found
        if not is_finite(step) or step.withheld in (Withheld.SKIPPED, Withheld.NON_FINITE):
            continue
        if found:
            streak.append(step)
            if len(streak) >= spec.max_rejections:
                clean, streak = streak, []
        elif step.applied and step.step >= armed_from:
            clean.append(step)
            streak = []
    return Sweep(anomalies=tuple(anomalies), clean=tuple(clean))


@dataclass(frozen=True, kw_only=True)
class _Series:
    """One of the two figures that are watched."""

    kind: AnomalyKind
    withheld: Withheld
    of: Callable[[StepRecord], float | None]
    floor: Callable[[float], float]
    threshold: Callable[[DetectionSpec], float]


def _finite_loss(step: StepRecord) -> float | None:
    return step.loss if math.isfinite(step.loss) else None


def _loss_floor(loss: float) -> float:
    """Smallest spread of a batch loss that is believed, in nats: 2 % of the loss, and never below 0.05.

    The MAD of a few near-equal losses can be arbitrarily small. The floors, and the widening of `scale_of`, are never
    below those of the worker's guard: what it let through is not called a spike, and rolled back, on the same evidence.
    """
    return max(0.02 * abs(loss), 0.05)


LOG_NORM_FLOOR = 0.1
"""Smallest spread of a log gradient norm that is believed: a tenth of the norm."""

_SERIES = (
    _Series(
        kind=AnomalyKind.LOSS_SPIKE,
        withheld=Withheld.LOSS,
        of=_finite_loss,
        floor=_loss_floor,
        threshold=lambda spec: spec.loss_z,
    ),
    _Series(
        kind=AnomalyKind.GRAD_SPIKE,
        withheld=Withheld.GRAD_NORM,
        of=lambda step: log_or_none(step.grad_norm),
        floor=lambda _: LOG_NORM_FLOOR,
        threshold=lambda spec: spec.grad_norm_z,
    ),
)


def _spikes(step: StepRecord, reference: Sequence[StepRecord], spec: DetectionSpec) -> list[Anomaly]:
    if step.withheld is Withheld.SKIPPED:
        return []
    return [anomaly for series in _SERIES if (anomaly := _spike(series, step, reference, spec)) is not None]


def _spike(series: _Series, step: StepRecord, reference: Sequence[StepRecord], spec: DetectionSpec) -> Anomaly | None:
    value, threshold = series.of(step), series.threshold(spec)
    is_refused = step.withheld is series.withheld
    score = None if value is None else _score(value, series, reference)
    if not is_refused and (score is None or score < threshold):
        return None
    return Anomaly(
        kind=series.kind,
        step=step.step,
        value=math.nan if value is None else value,
        score=math.inf if score is None else score,
        threshold=threshold,
        applied=step.applied,
    )


def _score(value: float, series: _Series, reference: Sequence[StepRecord]) -> float | None:
    clean = [known for step in reference if (known := series.of(step)) is not None]
    if not clean:
        return None
    middle = sorted(clean)[len(clean) // 2]
    return scale_of(clean, floor=series.floor(middle)).z(value)
