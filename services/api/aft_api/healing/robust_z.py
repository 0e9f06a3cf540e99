"""Robust z detector: batch loss and log gradient norm against the clean steps before them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aft_api.healing.non_finite import is_finite
from aft_api.healing.recent import Recent
from aft_api.healing.robust import log_or_none
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord, Withheld


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one pass over a lineage found, and the steps that it trusts."""

    anomalies: tuple[Anomaly, ...]
    clean: tuple[StepRecord, ...]


def sweep(steps: Iterable[StepRecord], spec: DetectionSpec, *, armed_from: int = 0) -> Sweep:
    """Spikes in `steps` (oldest first), each step judged by the clean ones before it.

    z = (x - median) / spread of the loss, and of the log gradient norm, over the last `history_steps` clean steps,
    one-sided (Iglewicz & Hoaglin, 1993, with 6 in place of 3.5). The spread is `robust.scale_of`, which is the worker's
    guard's too: what that let through is not called a spike, and rolled back, on the same evidence. Silent until
    `min_steps` clean steps since `armed_from`, where the guard begins anew as well. A spike, a withheld step and a step
    that is not finite never join the clean ones, so no outlier hides its followers; `max_rejections` spikes in a row
    are a new level, and the statistics start over from it.

    A step that the guard withheld for its loss or norm is always found, whatever its score here: an update is missing,
    and somebody has to say why. Its score is infinite while there is no reference to measure it by.
    """
    anomalies: list[Anomaly] = []
    clean: list[StepRecord] = []
    streak: list[StepRecord] = []
    references = _references(clean, spec)
    for step in steps:
        found = _spikes(step, references, spec, is_armed=len(clean) >= spec.min_steps)
        anomalies += found
        is_figure = is_finite(step) and step.withheld not in (Withheld.SKIPPED, Withheld.NON_FINITE)
        if not is_figure or step.step < armed_from:
            continue
        if found:
            streak.append(step)
            if len(streak) >= spec.max_rejections:
                clean, streak = streak, []
                references = _references(clean, spec)
        elif step.applied:
            clean.append(step)
            streak = []
            for series, recent in references:
                recent.add(series.of(step))
    return Sweep(anomalies=tuple(anomalies), clean=tuple(clean))


@dataclass(frozen=True, kw_only=True)
class _Series:
    """One of the two figures that are watched."""

    kind: AnomalyKind
    withheld: Withheld
    of: Callable[[StepRecord], float | None]
    floor: Callable[[float, DetectionSpec], float]
    threshold: Callable[[DetectionSpec], float]


def _finite_loss(step: StepRecord) -> float | None:
    return step.loss if math.isfinite(step.loss) else None


def _loss_floor(loss: float, spec: DetectionSpec) -> float:
    return max(spec.loss_floor_share * abs(loss), spec.loss_floor_nats)


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
        floor=lambda _, spec: spec.grad_norm_floor,
        threshold=lambda spec: spec.grad_norm_z,
    ),
)


_References = list[tuple[_Series, Recent]]
"""Each figure, with the last clean values of it."""

ORDINARY = 1 - 1e-9
"""A bound on z this far below the threshold says that the exact z is below it too, whatever rounding did."""


def _references(clean: Iterable[StepRecord], spec: DetectionSpec) -> _References:
    steps = tuple(clean)
    return [(series, Recent(spec.history_steps, map(series.of, steps))) for series in _SERIES]


def _spikes(step: StepRecord, references: _References, spec: DetectionSpec, *, is_armed: bool) -> list[Anomaly]:
    if step.withheld is Withheld.SKIPPED:
        return []
    found = (_spike(series, step, recent if is_armed else None, spec) for series, recent in references)
    return [anomaly for anomaly in found if anomaly is not None]


def _spike(series: _Series, step: StepRecord, recent: Recent | None, spec: DetectionSpec) -> Anomaly | None:
    value, threshold = series.of(step), series.threshold(spec)
    is_refused = step.withheld is series.withheld
    score = None
    if value is not None and recent:
        score = _score(value, series, recent, spec, least=None if is_refused else threshold)
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


def _score(value: float, series: _Series, recent: Recent, spec: DetectionSpec, *, least: float | None) -> float | None:
    """z of the value; None for one that is quickly seen to lie below `least`, as nearly all do."""
    floor = series.floor(recent.median, spec)
    if least is not None and recent.most_z(value, floor=floor) < least * ORDINARY:
        return None
    return recent.scale(floor=floor, trim_z=spec.trim_z).z(value)
