"""Repetition: a row that is one sign or one phrase over and over, and moves the weights like nothing else."""

from collections.abc import Iterable, Iterator

from aft_api.healing.reference import SampleReference
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, SampleRecord, StepRecord, Withheld


def find_repetitions(
    window: Iterable[StepRecord], reference: SampleReference, spec: DetectionSpec
) -> tuple[Anomaly, ...]:
    """An anomaly for each step of `window` that holds a sample which repeats itself and pulls hard.

    `repetition_share` of the sample's 4-grams stood in it before (seq-rep-4; Welleck et al., 2020), as in text that
    corpora are cleaned of before training (Rae et al., 2021), and the robust z of its log gradient norm within its
    domain and length reaches `sample_z`. Its loss says little: a sign that the model has seen in rows is soon expected,
    while all tokens pull at the same weights in the same direction. Where such rows are usual in a domain, or change
    nothing, they do not stand out. The anomaly names every such sample of its step, worst first, and carries the worst
    one's figures.
    """
    return tuple(anomaly for step in window if (anomaly := _repeating(step, reference, spec)) is not None)


def _repeating(step: StepRecord, reference: SampleReference, spec: DetectionSpec) -> Anomaly | None:
    if step.withheld is Withheld.SKIPPED:
        return None
    found = sorted(_standing_out(step, reference, spec), key=lambda pair: pair[0], reverse=True)
    if not found:
        return None
    worst_score, worst = found[0]
    return Anomaly(
        kind=AnomalyKind.REPETITION,
        step=step.step,
        value=worst.repetition or 0.0,
        score=worst_score,
        threshold=spec.sample_z,
        applied=step.applied,
        sample_ids=tuple(sample.sample_id for _, sample in found),
    )


def _standing_out(
    step: StepRecord, reference: SampleReference, spec: DetectionSpec
) -> Iterator[tuple[float, SampleRecord]]:
    for sample in step.samples:
        if sample.tokens > 0 and sample.repetition is not None and sample.repetition >= spec.repetition_share:
            score = reference.grad_norm_z(sample, step=step.step)
            if score is not None and score >= spec.sample_z:
                yield score, sample
