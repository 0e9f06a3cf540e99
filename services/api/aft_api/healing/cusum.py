"""CUSUM detector: a slow rise of the loss that no single step gives away."""

from collections.abc import Sequence

from aft_api.healing.recent import Recent
from aft_api.healing.robust import scale_of
from aft_api.healing.robust_z import ORDINARY
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord


def find_drift(clean: Sequence[StepRecord], spec: DetectionSpec) -> tuple[Anomaly, ...]:
    """Steps at which the loss has drifted upwards, among `clean` steps (oldest first).

    S <- max(0, S + min(z, k + h/4) - k); alarm and restart at S > h (Page, 1954; one-sided, k = `cusum_drift`,
    h = `cusum_threshold`). z is taken against the last `cusum_steps` clean steps that lie at least `cusum_lag` steps
    back, so that a drift does not hide in its own reference, nor behind the first descent. The cap on z lets no step
    bring more than a quarter of the alarm: a drift takes at least five steps, and a spike that stayed below its own
    threshold is none.
    """
    anomalies, total = [], 0.0
    cap = spec.cusum_drift + spec.cusum_threshold / 4
    reference, lagged = Recent(spec.cusum_steps), iter(clean)
    following = next(lagged, None)
    for step in clean:
        while following is not None and following.step <= step.step - spec.cusum_lag:
            reference.add(following.loss)
            following = next(lagged, None)
        if len(reference) < spec.min_steps:
            continue
        floor = _loss_floor(reference.upper_median)
        if total == 0.0 and reference.most_z(step.loss, floor=floor) <= spec.cusum_drift * ORDINARY:
            continue  # whatever z is exactly, it adds nothing
        z = reference.scale(floor=floor).z(step.loss)
        total = max(0.0, total + min(z, cap) - spec.cusum_drift)
        if total > spec.cusum_threshold:
            anomalies.append(_anomaly(step, total, spec))
            total = 0.0
    return tuple(anomalies)


def elevation(step: StepRecord, clean: Sequence[StepRecord], spec: DetectionSpec) -> float | None:
    """Robust z of the step's loss against its lagged reference; None while that has fewer than `min_steps` steps."""
    reference = [known.loss for known in clean if known.step <= step.step - spec.cusum_lag][-spec.cusum_steps :]
    if len(reference) < spec.min_steps:
        return None
    return scale_of(reference, floor=_loss_floor(sorted(reference)[len(reference) // 2])).z(step.loss)


def _loss_floor(loss: float) -> float:
    """Smallest spread that is believed, in nats; smaller than a spike's, for a drift is made of small steps."""
    return max(0.01 * abs(loss), 0.005)


def _anomaly(step: StepRecord, total: float, spec: DetectionSpec) -> Anomaly:
    return Anomaly(
        kind=AnomalyKind.DRIFT,
        step=step.step,
        value=step.loss,
        score=total,
        threshold=spec.cusum_threshold,
        applied=step.applied,
    )
