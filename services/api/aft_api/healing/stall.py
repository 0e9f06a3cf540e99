"""Stall detector: steps that teach nothing."""

from collections.abc import Sequence

from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord, Withheld


def find_stalls(steps: Sequence[StepRecord], spec: DetectionSpec, *, armed_from: int = 0) -> tuple[Anomaly, ...]:
    """Steps at which a stall is `stall_steps` long, among `steps` (oldest first); one that lasts is found again.

    A step stands still when its gradient is exactly zero, or when its loss is exactly, to the last bit, that of the
    step before although the rows are others. Nothing that learns does either: both are exact, so there is no threshold
    on a figure, and no noise to mistake. (The rule is our own; the published detectors watch for a rise.) A converged
    run that trains on the same rows in every step may well repeat its loss, and does not stand still by that.

    Counted are steps since `armed_from` that had a learning rate; one that a human skipped, or whose figures are not
    finite, ends the count.
    """
    anomalies: list[Anomaly] = []
    length = 0
    before: StepRecord | None = None
    for step in steps:
        is_counted = step.step >= armed_from and step.lr > 0 and step.withheld is not Withheld.SKIPPED
        length = length + 1 if is_counted and _stands_still(step, before) else 0
        if length == spec.stall_steps:
            anomalies.append(_anomaly(step, length, spec))
            length = 0
        before = step
    return tuple(anomalies)


def _stands_still(step: StepRecord, before: StepRecord | None) -> bool:
    if step.grad_norm == 0:
        return True
    return before is not None and step.loss == before.loss and _rows(step) != _rows(before)


def _rows(step: StepRecord) -> frozenset[str]:
    return frozenset(sample.sample_id for sample in step.samples)


def _anomaly(step: StepRecord, length: int, spec: DetectionSpec) -> Anomaly:
    return Anomaly(
        kind=AnomalyKind.STALL,
        step=step.step,
        value=step.loss,
        score=length,
        threshold=spec.stall_steps,
        applied=step.applied,
    )
