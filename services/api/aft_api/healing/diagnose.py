"""Conclude: what the replays prove about an incident."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from aft_api.healing.culprits import Group, Trials, trials_by_step
from aft_api.healing.cusum import elevation
from aft_api.healing.detect import judge
from aft_api.healing.replay import AS_IT_WAS, WITHOUT_SUSPECTS
from aft_api.healing.robust_z import sweep
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, Replay, StepRecord, Suspect, Verdict

Faults = Mapping[int, frozenset[AnomalyKind]]
"""Kinds of anomaly by step."""


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A verdict and what it rests on."""

    verdict: Verdict
    culprits: tuple[str, ...]
    reasons: tuple[str, ...]
    sound_step: int | None = None
    """Step of the checkpoint from which a replay came out clean; None where none did."""


def conclude(
    anomalies: Sequence[Anomaly],
    suspects: Sequence[Suspect],
    replays: Sequence[Replay],
    history: Sequence[StepRecord],
    spec: DetectionSpec,
    *,
    base: int | None = None,
) -> Conclusion:
    """The verdict on `anomalies`; the replays are judged by the detectors that found them, on the same `history`.

    Clean when repeated as it was: transient. Bad again, and clean without its suspects: data, and the culprits are
    those of them whom the further trials convict (`Trials.convicted`). Bad even without them, or with nobody to
    suspect: optimisation, unless `look_back` finds more. Unknown without a replay of an anomalous step, or when the
    replays contradict each other. `base` is the step of the checkpoint that the replays began from; a clean one proves
    it sound.
    """
    as_it_was, without = _variant(AS_IT_WAS, replays), _variant(WITHOUT_SUSPECTS, replays)
    replayed = _replayed(anomalies, as_it_was)
    if as_it_was is None or not replayed:
        return _unknown("No anomalous step was replayed, so nothing is proven.")
    as_before = _faults(as_it_was, replayed, anomalies, history, spec)
    bad = frozenset(as_before)
    still_bad = _again(as_before, _faults(without, replayed, anomalies, history, spec)) if without else frozenset[int]()
    if not bad and without and _faults(without, replayed, anomalies, history, spec):
        return _unknown(
            f"Replayed as it was, {_steps(replayed)} came out clean, but bad without the suspects: a contradiction."
        )
    if not bad:
        return replace(_transient(replayed), sound_step=base)
    tried = tried_groups(anomalies, suspects, replays, history, spec)
    conclusion = _blame(bad, still_bad, without, tried)
    is_cleared = conclusion.verdict is Verdict.DATA and not still_bad
    return replace(conclusion, sound_step=base) if is_cleared else conclusion


def tried_groups(
    anomalies: Sequence[Anomaly],
    suspects: Sequence[Suspect],
    replays: Sequence[Replay],
    history: Sequence[StepRecord],
    spec: DetectionSpec,
) -> dict[int, Trials]:
    """What is known of the suspects of each step that came out clean without them; none where the data is cleared."""
    as_it_was, without = _variant(AS_IT_WAS, replays), _variant(WITHOUT_SUSPECTS, replays)
    replayed = _replayed(anomalies, as_it_was)
    if as_it_was is None or without is None or not replayed:
        return {}
    before = _faults(as_it_was, replayed, anomalies, history, spec)
    masked = frozenset(without.masked_sample_ids)
    cleared = frozenset(before) - _again(before, _faults(without, replayed, anomalies, history, spec))
    left_in: dict[Group, frozenset[int]] = {
        masked - {*replay.masked_sample_ids}: _again(before, _faults(replay, replayed, anomalies, history, spec))
        for replay in replays
        if replay is not as_it_was and replay is not without
    }
    return trials_by_step(suspects, masked, cleared, left_in)


def look_back(
    conclusion: Conclusion,
    anomalies: Sequence[Anomaly],
    replay: Replay,
    history: Sequence[StepRecord],
    spec: DetectionSpec,
    *,
    base: int,
) -> Conclusion:
    """The conclusion once the steps were replayed unchanged from the older checkpoint at step `base`.

    Clean from there, though bad from the newer checkpoint: what was saved in the newer one is damaged. Bad from both:
    it stays what it was.
    """
    replayed = _replayed(anomalies, replay)
    if not replayed:
        return conclusion
    if bad := frozenset(_faults(replay, replayed, anomalies, history, spec)):
        reason = f"Replayed from the checkpoint of step {base} it came back as well, at {_steps(bad)}."
        return replace(conclusion, reasons=(*conclusion.reasons, reason))
    reason = (
        f"Replayed from the older checkpoint of step {base}, the same steps came out clean: weights or optimizer state "
        "were damaged after it."
    )
    return Conclusion(verdict=Verdict.STATE, culprits=(), reasons=(conclusion.reasons[0], reason), sound_step=base)


def combine(conclusions: Sequence[Conclusion]) -> Conclusion:
    """One conclusion on several clusters of one window: the gravest verdict, all culprits, all reasons."""
    gravity = (Verdict.TRANSIENT, Verdict.DATA, Verdict.STATE, Verdict.OPTIMISATION, Verdict.UNKNOWN)
    sound = [one.sound_step for one in conclusions]
    return Conclusion(
        verdict=max((one.verdict for one in conclusions), key=gravity.index),
        culprits=tuple(dict.fromkeys(culprit for one in conclusions for culprit in one.culprits)),
        reasons=tuple(reason for one in conclusions for reason in one.reasons),
        sound_step=None if None in sound else min(step for step in sound if step is not None),
    )


def _blame(
    bad: frozenset[int], still_bad: frozenset[int], without: Replay | None, tried: Mapping[int, Trials]
) -> Conclusion:
    again = f"Replayed as it was, the fault came back at {_steps(bad)}: it is not transient."
    if without is None:
        return _optimisation(again, "No sample stands out in it.")
    cleared = bad - still_bad
    asked = dict.fromkeys(one for trials in tried.values() for one in trials.suspects)
    if not asked:
        masked = len(without.masked_sample_ids)
        return _optimisation(again, f"It also came back without the samples that stand out ({masked}).")
    guilty = frozenset().union(*(trials.culprits for trials in tried.values()))
    culprits, harmless = (
        tuple(one for one in asked if one in guilty),
        [one for one in asked if one not in guilty],
    )
    reasons = [again, f"Without {', '.join(culprits)} it did not come back at {_steps(cleared)}."]
    if harmless:
        reasons.append(f"With {', '.join(harmless)} left in and the others out it did not either: not to blame.")
    together = [group for trials in tried.values() for group in trials.convicted if len(group) > 1]
    reasons += [f"Blamed together, for no part of them did it alone: {', '.join(sorted(group))}." for group in together]
    if still_bad & bad:
        reasons.append(f"At {_steps(still_bad & bad)} it came back even without the suspects, so those are not blamed.")
    emptied = frozenset(step.step for step in without.steps if step.tokens == 0) & cleared
    if emptied:
        reasons.append(f"At {_steps(emptied)} no other sample was left, so nothing else could have caused it.")
    return Conclusion(verdict=Verdict.DATA, culprits=culprits, reasons=tuple(reasons))


def _variant(name: str, replays: Sequence[Replay]) -> Replay | None:
    return next((replay for replay in replays if replay.name == name), None)


def _replayed(anomalies: Sequence[Anomaly], replay: Replay | None) -> frozenset[int]:
    steps = {step.step for step in replay.steps} if replay else set()
    return frozenset(anomaly.step for anomaly in anomalies if anomaly.step in steps)


def _again(before: Faults, now: Faults) -> frozenset[int]:
    """Steps at which a fault of the same kind came back.

    Masking a row gives the others more weight: an ordinary row may then stand out by its gradient where before there
    was NaN. That is another fault than the one to be explained.
    """
    return frozenset(step for step, kinds in now.items() if kinds & before.get(step, frozenset()))


def _faults(
    replay: Replay,
    replayed: frozenset[int],
    anomalies: Sequence[Anomaly],
    history: Sequence[StepRecord],
    spec: DetectionSpec,
) -> Faults:
    """Those of the `replayed` anomalous steps that are anomalous in this variant, and in which way."""
    masked = frozenset(replay.masked_sample_ids)
    steps = [_without(step, masked) for step in replay.steps if step.tokens > 0]
    past = [step for step in history if not steps or step.step < steps[0].step]
    found: dict[int, set[AnomalyKind]] = {}
    for anomaly in judge(steps, past, spec):
        if anomaly.kind is not AnomalyKind.DRIFT and anomaly.step in replayed:
            found.setdefault(anomaly.step, set()).add(anomaly.kind)
    drifted = {anomaly.step for anomaly in anomalies if anomaly.kind is AnomalyKind.DRIFT}
    for step in _still_high(steps, past, spec) & drifted & replayed:
        found.setdefault(step, set()).add(AnomalyKind.DRIFT)
    return {step: frozenset(kinds) for step, kinds in found.items()}


def _still_high(steps: Sequence[StepRecord], past: Sequence[StepRecord], spec: DetectionSpec) -> frozenset[int]:
    """Steps whose loss still adds to a drift; the sum itself needs more steps than a replay has."""
    clean = sweep(past, spec).clean
    heights = {step.step: elevation(step, clean, spec) for step in steps}
    return frozenset(step for step, z in heights.items() if z is not None and z > spec.cusum_drift)


def _without(step: StepRecord, masked: frozenset[str]) -> StepRecord:
    """The step without its masked samples: they are recorded, but had no part in it."""
    return step.model_copy(
        update={"samples": tuple(sample for sample in step.samples if sample.sample_id not in masked)}
    )


def _transient(steps: Collection[int]) -> Conclusion:
    return Conclusion(
        verdict=Verdict.TRANSIENT,
        culprits=(),
        reasons=(f"Replayed as it was, {_steps(steps)} came out clean: the same batch does no harm.",),
    )


def _optimisation(*reasons: str) -> Conclusion:
    return Conclusion(verdict=Verdict.OPTIMISATION, culprits=(), reasons=reasons)


def _unknown(*reasons: str) -> Conclusion:
    return Conclusion(verdict=Verdict.UNKNOWN, culprits=(), reasons=reasons)


def _steps(steps: Collection[int]) -> str:
    ordered = sorted(steps)
    return f"step {ordered[0]}" if len(ordered) == 1 else f"steps {', '.join(map(str, ordered))}"
