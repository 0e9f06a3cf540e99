"""CUSUM detector: a slow rise of the loss that no single step gives away."""

from collections.abc import Sequence

from aft_api.healing.recent import Recent
from aft_api.healing.robust_z import ORDINARY
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord


def find_drift(clean: Sequence[StepRecord], spec: DetectionSpec) -> tuple[Anomaly, ...]:
    """Steps at which the loss has drifted upwards, among `clean` steps (oldest first).

    S <- max(0, S + min(z, k + c h) - k); alarm and restart at S > h (Page, 1954; one-sided, k = `cusum_drift`,
    h = `cusum_threshold`, c = `cusum_step_share`). z is taken against the last `cusum_steps` clean steps that lie at
    least `cusum_lag` steps back, so that a drift does not hide in its own reference, nor behind the first descent. The
    cap on z lets no step bring more than a share of the alarm, a quarter by default: a drift takes at least five steps,
    and a spike that stayed below its own threshold is none. Silent until `cusum_lag` + `min_steps` - 1 steps after the
    first clean one.
    """
    anomalies, total = [], 0.0
    cap = spec.cusum_drift + spec.cusum_step_share * spec.cusum_threshold
    reference, lagged = Recent(spec.cusum_steps), iter(clean)
    following = next(lagged, None)
    for step in clean:
        while following is not None and following.step <= step.step - spec.cusum_lag:
            reference.add(following.loss)
            following = next(lagged, None)
        if len(reference) < spec.min_steps:
            continue
        floor = _loss_floor(reference.median, spec)
        if total == 0.0 and reference.most_z(step.loss, floor=floor) <= spec.cusum_drift * ORDINARY:
            continue  # whatever z is exactly, it adds nothing
        z = reference.scale(floor=floor, trim_z=spec.trim_z).z(step.loss)
        total = max(0.0, total + min(z, cap) - spec.cusum_drift)
        if total > spec.cusum_threshold:
            anomalies.append(_anomaly(step, total, spec))
            total = 0.0
    return tuple(anomalies)


def elevation(step: StepRecord, clean: Sequence[StepRecord], spec: DetectionSpec) -> float | None:
    """Robust z of the step's loss against its lagged reference; None while that has fewer than `min_steps` steps."""
    lagged = [known.loss for known in clean if known.step <= step.step - spec.cusum_lag]
    reference = Recent(spec.cusum_steps, lagged)
    if len(reference) < spec.min_steps:
        return None
    return reference.scale(floor=_loss_floor(reference.median, spec), trim_z=spec.trim_z).z(step.loss)


def _loss_floor(loss: float, spec: DetectionSpec) -> float:
    return max(spec.cusum_floor_share * abs(loss), spec.cusum_floor_nats)


def _anomaly(step: StepRecord, total: float, spec: DetectionSpec) -> Anomaly:
    return Anomaly(
        kind=AnomalyKind.DRIFT,
        step=step.step,
        value=step.loss,
        score=total,
        threshold=spec.cusum_threshold,
        applied=step.applied,
    )
