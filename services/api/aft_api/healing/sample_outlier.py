"""Sample detector: one bad row in a batch, even where the batch's mean hides it."""

from collections.abc import Iterable

from aft_api.healing.reference import SampleReference
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, SampleRecord, StepRecord, Withheld


def find_outliers(window: Iterable[StepRecord], reference: SampleReference, spec: DetectionSpec) -> tuple[Anomaly, ...]:
    """An anomaly for each step of `window` that holds a sample whose loss is far above the clean ones of its domain.

    A sample stands out where the robust z of its loss, (x - median) / spread over clean rows of its domain and length,
    reaches `outlier_z` (Iglewicz & Hoaglin, 1993; see `SampleReference` for the scaling by length), or with a loss that
    is not finite. `sample_z` is enough where the log of its gradient norm stands `witness_z` out: that is a second
    witness, and where there is none, nothing but the one figure says that something is wrong. Where a sample of
    `window` stands out so, `company_z` is enough for the others: bad rows seldom come alone. The anomaly names every
    such sample of its step, worst first, and carries the worst one's figures.
    """
    steps = [step for step in window if step.withheld is not Withheld.SKIPPED]
    found = _judged(steps, reference, spec, enough=spec.outlier_z)
    return _judged(steps, reference, spec, enough=enough_in_company(spec)) if found else ()


def enough_in_company(spec: DetectionSpec) -> float:
    """How far out a sample's loss is one by itself, where another sample of its window is."""
    return min(spec.company_z, spec.outlier_z)


def _judged(
    steps: Iterable[StepRecord], reference: SampleReference, spec: DetectionSpec, *, enough: float
) -> tuple[Anomaly, ...]:
    return tuple(found for step in steps if (found := _outliers(step, reference, spec, enough=enough)) is not None)


def _outliers(step: StepRecord, reference: SampleReference, spec: DetectionSpec, *, enough: float) -> Anomaly | None:
    rows = (sample for sample in step.samples if sample.tokens > 0)
    scored = ((_score(sample, step.step, reference, spec, enough=enough), sample) for sample in rows)
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
        threshold=next(bar for bar in (spec.outlier_z, enough, spec.sample_z) if worst_score >= bar),
        applied=step.applied,
        sample_ids=tuple(sample.sample_id for _, sample in outliers),
    )


def _score(
    sample: SampleRecord, step: int, reference: SampleReference, spec: DetectionSpec, *, enough: float
) -> float | None:
    """The z of the sample's loss; None where it does not stand out."""
    score = reference.standing_out(sample, step=step, at_least=min(spec.sample_z, enough))
    if score is None or score >= enough:
        return score
    witness = reference.grad_norm_z(sample, step=step)
    return score if witness is not None and witness >= spec.witness_z else None
