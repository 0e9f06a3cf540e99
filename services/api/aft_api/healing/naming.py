"""Naming: the anomaly of a step whose rows stand out by themselves."""

from collections.abc import Callable, Iterable

from aft_contracts import Anomaly, AnomalyKind, SampleRecord, StepRecord, Withheld


def naming(
    kind: AnomalyKind,
    step: StepRecord,
    score: Callable[[SampleRecord], float | None],
    *,
    value: Callable[[SampleRecord], float],
    threshold: Callable[[float], float],
) -> Anomaly | None:
    """An anomaly that names every row of `step` with a score, worst first, and has the worst one's value and threshold.

    Rows that had no part in their step have none. None where nobody has one, and for a step that a human skipped.
    """
    if step.withheld is Withheld.SKIPPED:
        return None
    found = sorted(_scored(step.samples, score), key=lambda pair: pair[0], reverse=True)
    if not found:
        return None
    worst_score, worst = found[0]
    return Anomaly(
        kind=kind,
        step=step.step,
        value=value(worst),
        score=worst_score,
        threshold=threshold(worst_score),
        applied=step.applied,
        sample_ids=tuple(sample.sample_id for _, sample in found),
    )


def _scored(
    samples: Iterable[SampleRecord], score: Callable[[SampleRecord], float | None]
) -> Iterable[tuple[float, SampleRecord]]:
    scored = ((score(sample), sample) for sample in samples if sample.tokens > 0)
    return ((found, sample) for found, sample in scored if found is not None)
