"""Incident: a cluster of anomalies with its suspects, and how a replay of it is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aft_api.healing.cusum import elevation
from aft_api.healing.detect import judge
from aft_api.healing.rate_jump import RatePlan
from aft_api.healing.robust_z import sweep
from aft_api.healing.sample_outlier import witnessed_z
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, Replay, StepRecord, Suspect

Faults = Mapping[int, frozenset[AnomalyKind]]
"""Kinds of anomaly by step."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """What is to be explained, and the detectors as they stood when they found it."""

    anomalies: tuple[Anomaly, ...]
    suspects: tuple[Suspect, ...]
    """Samples that stand out, most suspicious first; those of other steps do not matter."""
    history: Sequence[StepRecord]
    """The steps of the lineage as they were trained, oldest first; a replay is judged by those before it."""
    spec: DetectionSpec
    armed_from: int
    """The step from which on the detectors knew what is normal; see `judge`."""
    plan: RatePlan | None = None
    """What the learning rate was to be."""

    def replayed(self, replay: Replay | None) -> frozenset[int]:
        """The anomalous steps that `replay` trained again."""
        steps = {step.step for step in replay.steps} if replay else set()
        return frozenset(anomaly.step for anomaly in self.anomalies if anomaly.step in steps)

    def faults(self, replay: Replay, steps: frozenset[int]) -> Faults:
        """Those of the anomalous `steps` that are anomalous in this replay, and in which way.

        Judged by the very detectors that found them, which knew no more than they did then, and no less: single
        samples were measured against the rest of their window too, so the recorded steps behind the replay take part.
        What is repeated bit by bit is then judged as it was; a sample that was judged in bad company is so without it.
        Masked samples are left out: they are recorded, but had no part in their step.
        """
        masked = frozenset(replay.masked_sample_ids)
        trained = [_without(step, masked) for step in replay.steps if step.tokens > 0]
        past = [step for step in self.history if not trained or step.step < trained[0].step]
        later = [step for step in self.history if trained and step.step > replay.steps[-1].step]
        found: dict[int, set[AnomalyKind]] = {}
        for anomaly in judge((*trained, *later), past, self._bars, armed_from=self.armed_from, plan=self.plan):
            if anomaly.kind is not AnomalyKind.DRIFT and anomaly.step in steps:
                found.setdefault(anomaly.step, set()).add(anomaly.kind)
        drifted = {anomaly.step for anomaly in self.anomalies if anomaly.kind is AnomalyKind.DRIFT}
        for step in self._still_high(trained, past) & drifted & steps:
            found.setdefault(step, set()).add(AnomalyKind.DRIFT)
        return {step: frozenset(kinds) for step, kinds in found.items()}

    @property
    def _bars(self) -> DetectionSpec:
        is_in_company = any(anomaly.kind is AnomalyKind.SAMPLE_OUTLIER for anomaly in self.anomalies)
        return self.spec.model_copy(update={"outlier_z": witnessed_z(self.spec)} if is_in_company else {})

    def _still_high(self, steps: Sequence[StepRecord], past: Sequence[StepRecord]) -> frozenset[int]:
        """Steps whose loss still adds to a drift; the sum itself needs more steps than a replay has."""
        clean = sweep(past, self.spec, armed_from=self.armed_from).clean
        heights = {step.step: elevation(step, clean, self.spec) for step in steps}
        return frozenset(step for step, z in heights.items() if z is not None and z > self.spec.cusum_drift)


def again(before: Faults, now: Faults) -> frozenset[int]:
    """Steps at which a fault of the same kind came back.

    Masking a row gives the others more weight: an ordinary row may then stand out by its gradient where before there
    was NaN. That is another fault than the one to be explained. Where there was NaN, that is what is to be explained.
    """
    return frozenset(step for step, kinds in now.items() if kinds & _to_explain(before.get(step, frozenset())))


def _to_explain(kinds: frozenset[AnomalyKind]) -> frozenset[AnomalyKind]:
    return kinds & {AnomalyKind.NON_FINITE} or kinds


def _without(step: StepRecord, masked: frozenset[str]) -> StepRecord:
    return step.model_copy(
        update={"samples": tuple(sample for sample in step.samples if sample.sample_id not in masked)}
    )
