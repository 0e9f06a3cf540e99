"""Sample detector: one bad row in a batch, even where the batch's mean hides it."""

from collections.abc import Sequence

from aft_api.healing.naming import naming
from aft_api.healing.reference import SampleReference
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, SampleRecord, StepRecord


def find_outliers(window: Sequence[StepRecord], reference: SampleReference, spec: DetectionSpec) -> tuple[Anomaly, ...]:
    """An anomaly for each step of `window` that holds a sample whose loss is far above the clean ones of its domain.

    A sample stands out where the robust z of its loss, (x - median) / spread over clean rows of its domain and length,
    reaches `outlier_z` (Iglewicz & Hoaglin, 1993; see `SampleReference` for the scaling by length), or with a loss that
    is not finite. `witnessed_z` is enough where something else speaks against it: the log of its gradient norm stands
    `witness_z` out, or another sample of `window` stands out already, for bad rows seldom come alone. The anomaly names
    every such sample of its step, worst first, and carries the worst one's figures.
    """
    found = _judged(window, reference, spec, in_company=False)
    return _judged(window, reference, spec, in_company=True) if found else ()


def witnessed_z(spec: DetectionSpec) -> float:
    """How far out a loss is enough where something else speaks against its sample; never more than without."""
    return min(spec.witnessed_z, spec.outlier_z)


def _judged(
    window: Sequence[StepRecord], reference: SampleReference, spec: DetectionSpec, *, in_company: bool
) -> tuple[Anomaly, ...]:
    found = (_outliers(step, reference, spec, in_company=in_company) for step in window)
    return tuple(anomaly for anomaly in found if anomaly is not None)


def _outliers(step: StepRecord, reference: SampleReference, spec: DetectionSpec, *, in_company: bool) -> Anomaly | None:
    enough = witnessed_z(spec)

    def score(sample: SampleRecord) -> float | None:
        z = reference.standing_out(sample, step=step.step, at_least=enough)
        if z is None or z >= spec.outlier_z or in_company:
            return z
        witness = reference.grad_norm_z(sample, step=step.step)
        return z if witness is not None and witness >= spec.witness_z else None

    return naming(
        AnomalyKind.SAMPLE_OUTLIER,
        step,
        score,
        value=lambda sample: sample.loss,
        threshold=lambda z: spec.outlier_z if z >= spec.outlier_z else enough,
    )
