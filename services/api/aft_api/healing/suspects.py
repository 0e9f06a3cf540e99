"""Suspects: the samples of an anomalous step that stand out, from the step's own record."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from aft_api.healing.detect import clean_steps
from aft_api.healing.reference import SampleReference
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, SampleRecord, StepRecord, Suspect

NAMING_ROWS = (AnomalyKind.SAMPLE_OUTLIER, AnomalyKind.REPETITION)
"""What names the rows that raise it."""

OF_ROWS = (*NAMING_ROWS, AnomalyKind.LOSS_SPIKE, AnomalyKind.GRAD_SPIKE)
"""What an odd row raises by itself."""


def find_suspects(
    anomalies: Sequence[Anomaly],
    window: Sequence[StepRecord],
    history: Sequence[StepRecord],
    spec: DetectionSpec,
) -> tuple[Suspect, ...]:
    """Samples of the anomalous steps of `window` that stand out, most suspicious first.

    A sample's score is the larger of its robust z of loss and of log gradient norm within its domain; infinite if one
    of them is not finite. A suspect scores at least `sample_z`; in a batch where nobody does, the top one is a suspect
    if it reaches half of that and leads the next by as much.

    Where even the most ordinary row of a batch scores half of `sample_z`, the model is far out, not the rows: what all
    share is taken off each score, and a suspect must stand out by more than that. Where a step's rows were found to be
    opposed and nothing else, nobody is suspected: no row does that, and without one the others may be too few to say.
    """
    named = {anomaly.step for anomaly in anomalies if anomaly.kind is not AnomalyKind.OPPOSED_ROWS}
    reference = SampleReference(clean_steps((*history, *window), anomalies, spec), spec)
    suspects = [suspect for step in window if step.step in named for suspect in _of_step(step, reference, spec)]
    return tuple(sorted(suspects, key=lambda suspect: (-suspect.score, suspect.step, suspect.sample_id)))


def without_known(
    anomalies: Sequence[Anomaly],
    window: Sequence[StepRecord],
    history: Sequence[StepRecord],
    spec: DetectionSpec,
    known: Collection[str],
) -> tuple[Anomaly, ...]:
    """`anomalies` without those that are of `known` rows alone, which were looked into and not shown to do harm.

    A row is drawn again in each epoch, and would raise the same alarm each time.
    """
    if not known:
        return tuple(anomalies)
    suspects = find_suspects(anomalies, window, history, spec)
    named = [(one.step, row) for one in anomalies if one.kind in NAMING_ROWS for row in one.sample_ids]
    standing_out: dict[int, set[str]] = {}
    for step, row in (*named, *((one.step, one.sample_id) for one in suspects)):
        standing_out.setdefault(step, set()).add(row)
    explained = {step for step, rows in standing_out.items() if rows and rows <= {*known}}
    return tuple(one for one in anomalies if one.kind not in OF_ROWS or one.step not in explained)


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """A sample and how far out it is."""

    sample: SampleRecord
    score: float


def _of_step(step: StepRecord, reference: SampleReference, spec: DetectionSpec) -> list[Suspect]:
    rows = [sample for sample in step.samples if sample.tokens > 0]
    scored = [_Scored(sample=row, score=_score(row, step.step, reference)) for row in rows]
    shared = min((one.score for one in scored), default=0.0) if len(scored) > 1 else 0.0
    if shared >= spec.sample_z / 2:
        chosen = _above(shared, scored, spec)
    else:
        chosen = [one for one in scored if one.score >= spec.sample_z] or _clear_top(scored, spec.sample_z / 2)
    return [_suspect(one, step.step) for one in chosen]


def _score(sample: SampleRecord, step: int, reference: SampleReference) -> float:
    """The sample's own score; 0 while its domain has no reference, so that it neither accuses nor excuses."""
    scores = (reference.loss_z(sample, step=step), reference.grad_norm_z(sample, step=step))
    return max((score for score in scores if score is not None), default=0.0)


def _above(shared: float, scored: list[_Scored], spec: DetectionSpec) -> list[_Scored]:
    """The rows that stand out by more than what all of them share; none when no row at all is finite."""
    if math.isinf(shared):
        return []
    excess = [_Scored(sample=one.sample, score=one.score - shared) for one in scored]
    return [one for one in excess if one.score >= max(spec.sample_z, shared)]


def _clear_top(scored: list[_Scored], lead: float) -> list[_Scored]:
    ranked = sorted(scored, key=lambda one: one.score, reverse=True)
    if len(ranked) < 2 or ranked[0].score < lead or ranked[0].score - ranked[1].score < lead:
        return []
    return ranked[:1]


def _suspect(scored: _Scored, step: int) -> Suspect:
    return Suspect(
        sample_id=scored.sample.sample_id,
        domain=scored.sample.domain,
        step=step,
        loss=scored.sample.loss,
        grad_norm=scored.sample.grad_norm,
        score=scored.score,
    )
