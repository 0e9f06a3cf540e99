"""Sample detector: one bad row in a batch, even where the batch's mean hides it."""

from collections.abc import Iterable

from aft_api.healing.reference import SampleReference
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord, Withheld


def find_outliers(window: Iterable[StepRecord], reference: SampleReference, spec: DetectionSpec) -> tuple[Anomaly, ...]:
    """An anomaly for each step of `window` that holds a sample whose loss is far above the clean ones of its domain.

    A sample stands out where the robust z of its loss, (x - median) / spread over clean rows of its domain and length,
    reaches `outlier_z` (Iglewicz & Hoaglin, 1993; see `SampleReference` for the scaling by length), or with a loss that
    is not finite. The anomaly names every such sample of its step, worst first, and carries the worst one's figures.
    It takes more than to be a suspect, for here nothing but the row itself says that something is wrong.
    """
    return tuple(anomaly for step in window if (anomaly := _outliers(step, reference, spec)) is not None)


def _outliers(step: StepRecord, reference: SampleReference, spec: DetectionSpec) -> Anomaly | None:
    if step.withheld is Withheld.SKIPPED:
        return None
    scored = (
        (reference.standing_out(sample, step=step.step, at_least=spec.outlier_z), sample)
        for sample in step.samples
        if sample.tokens > 0
    )
    outliers = sorted(
        ((score, sample) for score, sample in scored if score is not None), key=lambda pair: pair[0], reverse=True
    )
    if not outliers:
        return None
    worst_score, worst = outliers[0]
    return Anomaly(
        kind=AnomalyKind.SAMPLE_OUTLIER,
        step=step.step,
        value=worst.loss,
        score=worst_score,
        threshold=spec.outlier_z,
        applied=step.applied,
        sample_ids=tuple(sample.sample_id for _, sample in outliers),
    )
