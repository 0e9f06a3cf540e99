"""Evaluation detector: a held-out loss that jumps, though no training step gave it away."""

import math
from collections.abc import Collection, Sequence
from itertools import pairwise

from aft_api.healing.robust import scale_of
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, Evaluated


def find_drops(
    evaluations: Sequence[Evaluated], spec: DetectionSpec, *, armed_from: int = 0, answerable: Collection[str] = ()
) -> tuple[Anomaly, ...]:
    """An anomaly for each held-out domain that the last of `evaluations` (oldest first, one lineage) found fallen.

    d_t = L_t - L_{t-1} is the change of a domain's loss between two evaluations. The domain has fallen when
    (d_t - max(0, median d)) / spread >= `eval_z`, by the changes before (`robust.scale_of`, floor `eval_floor_nats`),
    and L_t - min L > `eval_margin_nats`: worse than its best, as backward transfer has it (GEM, Lopez-Paz & Ranzato,
    2017), and by a jump, which is our own. Forgetting and overfitting rise step by step; that is their usual change,
    and no anomaly. A score that is not finite, after one that was, is a fall of its own. Silent before
    `eval_min_changes` changes since `armed_from`: a change of mix or rate moves the scores, and may.

    A mix trades one domain for another, and the curriculum answers that. So where only domains of `answerable` have
    fallen, whose share it may raise, there is no anomaly, unless every scored domain fell: that is no trade.
    """
    if not evaluations:
        return ()
    last = evaluations[-1]
    fallen = [_fall(name, evaluations, spec, armed_from) for name in sorted(last.scores)]
    found = tuple(anomaly for anomaly in fallen if anomaly is not None)
    is_trade = len(found) < len(last.scores) and all(anomaly.domain in answerable for anomaly in found)
    return () if is_trade else found


def _fall(name: str, evaluations: Sequence[Evaluated], spec: DetectionSpec, armed_from: int) -> Anomaly | None:
    scored = [one.scores[name].loss for one in evaluations if one.step >= armed_from and name in one.scores]
    *past, now = scored or [math.nan]
    known = [loss for loss in past if math.isfinite(loss)]
    if not math.isfinite(now):
        return _anomaly(name, evaluations[-1].step, now, math.inf, spec) if known else None
    changes = [after - before for before, after in pairwise(known)]
    if len(changes) < spec.eval_min_changes or now - min(known) <= spec.eval_margin_nats:
        return None
    scale = scale_of(changes, floor=spec.eval_floor_nats, trim_z=spec.trim_z)
    z = (now - known[-1] - max(0.0, scale.median)) / scale.spread
    return _anomaly(name, evaluations[-1].step, now, z, spec) if z >= spec.eval_z else None


def _anomaly(name: str, step: int, loss: float, score: float, spec: DetectionSpec) -> Anomaly:
    return Anomaly(
        kind=AnomalyKind.EVALUATION_DROP,
        step=step,
        value=loss,
        score=score,
        threshold=spec.eval_z,
        applied=True,
        domain=name,
    )
