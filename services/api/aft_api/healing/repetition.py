"""Repetition: a row that is one sign or one phrase over and over, and moves the weights like nothing else."""

from collections.abc import Iterable

from aft_api.healing.naming import naming
from aft_api.healing.reference import SampleReference
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, SampleRecord, StepRecord


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
    found = (_repeating(step, reference, spec) for step in window)
    return tuple(anomaly for anomaly in found if anomaly is not None)


def _repeating(step: StepRecord, reference: SampleReference, spec: DetectionSpec) -> Anomaly | None:
    def share(sample: SampleRecord) -> float:
        return sample.repetition or 0.0

    def score(sample: SampleRecord) -> float | None:
        if share(sample) < spec.repetition_share:
            return None
        pull = reference.grad_norm_z(sample, step=step.step)
        return pull if pull is not None and pull >= spec.sample_z else None

    return naming(AnomalyKind.REPETITION, step, score, value=share, threshold=lambda _: spec.sample_z)
