"""Conclude: what the replays prove about an incident."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aft_api.healing.culprits import Group, Trials, trials_by_step
from aft_api.healing.harm import Charge, Harm
from aft_api.healing.incident import Faults, Incident, again
from aft_api.healing.replay import AS_IT_WAS, WITHOUT_SUSPECTS
from aft_api.healing.suspects import NAMING_ROWS
from aft_contracts import Anomaly, AnomalyKind, Replay, Verdict


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A verdict and what it rests on."""

    verdict: Verdict
    culprits: tuple[str, ...]
    """Samples that caused it and were proven to do harm: those of a data verdict, and those beside a graver fault."""
    reasons: tuple[str, ...]
    unproven: tuple[str, ...] = ()
    """Samples that caused an alarm and were not shown to do harm."""
    sound_step: int | None = None
    """Step of the checkpoint from which a replay came out clean; None where none did."""

    @property
    def needs_nothing(self) -> bool:
        """Whether all that was found are rows that caused an alarm and were not shown to do harm."""
        return self.verdict is Verdict.DATA and not self.culprits

    @property
    def may_be_the_state(self) -> bool:
        """Whether a damaged checkpoint would explain it as well: only an older one can tell."""
        return self.verdict in (Verdict.DATA, Verdict.OPTIMISATION)


def conclude(
    incident: Incident, replays: Sequence[Replay], *, harms: Sequence[Harm] = (), base: int | None = None
) -> Conclusion:
    """The verdict on `incident`, whose replays are judged by the detectors that found it.

    Clean when repeated as it was: transient. Bad again, and clean without the suspects of the step: those of them whom
    the further trials accuse (`Trials.convicted`) caused the alarm: data. They are culprits if the step had no finite
    loss or gradient, for then no update was possible, or if one of `harms` proves that later rows are better off
    without them; that they no longer stand out once they are left out proves no harm. Bad even without them, or with
    nobody to suspect: optimisation. Data and optimisation hold unless `look_back` finds more. Unknown without a replay
    of an anomalous step, and when the replays contradict each other. `base` is the step of the checkpoint that the
    replays began from; a clean one proves it sound.
    """
    as_it_was, without = _variant(AS_IT_WAS, replays), _variant(WITHOUT_SUSPECTS, replays)
    replayed = incident.replayed(as_it_was)
    if as_it_was is None or not replayed:
        return _unknown("No anomalous step was replayed, so nothing is proven.")
    before = incident.faults(as_it_was, replayed)
    if not before and without and incident.faults(without, replayed):
        return _unknown(
            f"Replayed as it was, {_steps(replayed)} came out clean, but bad without the suspects: a contradiction."
        )
    if not before:
        return replace(_transient(replayed), sound_step=base)
    still_bad = again(before, incident.faults(without, replayed)) if without else frozenset(before)
    conclusion = _blame(before, still_bad, without, tried_groups(incident, replays), harms)
    return replace(conclusion, sound_step=base) if conclusion.verdict is Verdict.DATA else conclusion


def tried_groups(incident: Incident, replays: Sequence[Replay]) -> dict[int, Trials]:
    """What is known of the suspects of each step that came out clean without them; none where the data is cleared.

    Nothing is said of those from the first step on whose rate had jumped, whoever was left out: what a row does there
    is the rate's doing, and it will be drawn again. Only that first update itself is impossible whatever its rate.
    """
    as_it_was, without = _variant(AS_IT_WAS, replays), _variant(WITHOUT_SUSPECTS, replays)
    replayed = incident.replayed(as_it_was)
    if as_it_was is None or without is None or not replayed:
        return {}
    before, now = incident.faults(as_it_was, replayed), incident.faults(without, replayed)
    masked = frozenset(without.masked_sample_ids)
    cleared = frozenset(before) - again(before, now) - _at_high_rates(before, now)
    left_in: dict[Group, frozenset[int]] = {
        masked - {*replay.masked_sample_ids}: again(before, incident.faults(replay, replayed))
        for replay in replays
        if replay is not as_it_was and replay is not without
    }
    return trials_by_step(incident.suspects, masked, cleared, left_in)


def charges(incident: Incident, replays: Sequence[Replay]) -> tuple[Charge, ...]:
    """The samples that caused an alarm, one by one, and are still to be shown to do harm; see `conclude`."""
    as_it_was = _variant(AS_IT_WAS, replays)
    if as_it_was is None:
        return ()
    before = incident.faults(as_it_was, incident.replayed(as_it_was))
    return tuple(
        Charge(step=step, sample_ids=(one,))
        for step, trials in tried_groups(incident, replays).items()
        for one in trials.suspects
        if one in trials.culprits and not _proves_itself(before[step])
    )


def look_back(
    conclusion: Conclusion, incident: Incident, replays: Sequence[Replay], older: Replay, *, base: int
) -> Conclusion:
    """The conclusion from `replays` once the steps were replayed unchanged from the older checkpoint at step `base`.

    Clean from there, though bad from the newer checkpoint: what was saved in the newer one is damaged. So it is where
    what was no number there is one here, however far out. Bad from both: it stays what it was.
    """
    replayed, as_it_was = incident.replayed(older), _variant(AS_IT_WAS, replays)
    if not replayed or as_it_was is None:
        return conclusion
    before, now = incident.faults(as_it_was, replayed), incident.faults(older, replayed)
    impossible = frozenset(step for step, kinds in before.items() if _proves_itself(kinds))
    if bad := frozenset(step for step, kinds in now.items() if step not in impossible or _proves_itself(kinds)):
        reason = f"Replayed from the checkpoint of step {base} it came back as well, at {_steps(bad)}."
        return replace(conclusion, reasons=(*conclusion.reasons, reason))
    came_out = "were numbers, if odd ones" if now else "came out clean"
    reason = (
        f"Replayed from the older checkpoint of step {base}, the same steps {came_out}: weights or optimizer state "
        "were damaged after it."
    )
    return Conclusion(verdict=Verdict.STATE, culprits=(), reasons=(conclusion.reasons[0], reason), sound_step=base)


def unseen(conclusion: Conclusion, why: str) -> Conclusion:
    """The conclusion where nobody could look back: rows that a damaged state would explain too are not banned."""
    reason = f"Whether it comes back from an older checkpoint is not known: {why}"
    if conclusion.culprits:
        reason += f" So {', '.join(conclusion.culprits)} might be innocent."
    return replace(
        conclusion,
        culprits=(),
        unproven=(*conclusion.culprits, *conclusion.unproven),
        reasons=(*conclusion.reasons, reason),
    )


def unreplayed(conclusion: Conclusion, left: Sequence[Anomaly]) -> Conclusion:
    """The conclusion on a window of which the anomalies `left` were not replayed.

    Unknown where it would let be what they may have done to the weights: rows that stand out by themselves do little,
    and where the run goes back they are trained again.
    """
    if not left:
        return conclusion
    reason = f"Not replayed, for max_clusters allows no more: {_steps({anomaly.step for anomaly in left})}."
    told = replace(conclusion, reasons=(*conclusion.reasons, reason))
    is_harmless = all(anomaly.kind in NAMING_ROWS or not anomaly.applied for anomaly in left)
    if conclusion.verdict is not Verdict.DATA or is_harmless:
        return told
    return replace(told, verdict=Verdict.UNKNOWN, unproven=())


def combine(conclusions: Sequence[Conclusion]) -> Conclusion:
    """One conclusion on several clusters of one window: the gravest verdict, all culprits, all reasons.

    Rows that were not shown to do harm are the least grave. Beside something unknown they are not named: a human is
    asked about all of it.
    """
    gravity = (Verdict.TRANSIENT, Verdict.DATA, Verdict.STATE, Verdict.OPTIMISATION, Verdict.UNKNOWN)
    grave = [one for one in conclusions if not one.needs_nothing] or conclusions
    verdict = max((one.verdict for one in grave), key=gravity.index)
    sound = [one.sound_step for one in grave]
    return Conclusion(
        verdict=verdict,
        culprits=tuple(dict.fromkeys(culprit for one in conclusions for culprit in one.culprits)),
        reasons=tuple(reason for one in conclusions for reason in one.reasons),
        unproven=()
        if verdict is Verdict.UNKNOWN
        else tuple(dict.fromkeys(row for one in conclusions for row in one.unproven)),
        sound_step=None if None in sound else min(step for step in sound if step is not None),
    )


def _at_high_rates(before: Faults, without: Faults) -> frozenset[int]:
    first = min((step for step, kinds in without.items() if AnomalyKind.RATE_JUMP in kinds), default=math.inf)
    return frozenset(
        step for step, kinds in before.items() if step > first or (step == first and not _proves_itself(kinds))
    )


def _blame(
    before: Faults,
    still_bad: frozenset[int],
    without: Replay | None,
    tried: Mapping[int, Trials],
    harms: Sequence[Harm],
) -> Conclusion:
    came_back = f"Replayed as it was, the fault came back at {_steps(before)}: it is not transient."
    if without is None:
        return _optimisation(came_back, "No sample stands out in it.")
    if not tried:
        masked = len(without.masked_sample_ids)
        return _optimisation(came_back, f"It also came back without the samples that stand out ({masked}).")
    proven = _proven(before, tried, harms)
    accused = _once(one for trials in tried.values() for one in trials.suspects if one in trials.culprits)
    culprits = tuple(one for one in accused if one in proven)
    unproven = tuple(one for one in accused if one not in proven)
    reasons = [came_back, *_told(accused, tried, without), *(harm.in_words for harm in harms)]
    measured = {one for harm in harms for one in harm.charge.sample_ids}
    if unmeasured := [one for one in unproven if one not in measured]:
        reasons.append(f"What {', '.join(unmeasured)} would do to later rows was not measured.")
    if unproven:
        reasons.append(f"Not shown to do harm: {', '.join(unproven)}.")
    if still_bad:
        reasons.append(f"At {_steps(still_bad)} it came back even without the suspects, so those are not blamed.")
    verdict = Verdict.OPTIMISATION if still_bad else Verdict.DATA
    return Conclusion(verdict=verdict, culprits=culprits, reasons=tuple(reasons), unproven=unproven)


def _proven(before: Faults, tried: Mapping[int, Trials], harms: Sequence[Harm]) -> frozenset[str]:
    by_themselves = (trials.culprits for step, trials in tried.items() if _proves_itself(before[step]))
    by_harm = (frozenset(harm.charge.sample_ids) for harm in harms if harm.is_proven)
    return frozenset().union(*by_themselves, *by_harm)


def _proves_itself(kinds: frozenset[AnomalyKind]) -> bool:
    """Whether no update at all was possible: harm enough."""
    return AnomalyKind.NON_FINITE in kinds


def _told(accused: Collection[str], tried: Mapping[int, Trials], without: Replay) -> list[str]:
    """Who caused the alarm, and who only stood beside, in words."""
    bystanders = _once(one for trials in tried.values() for one in trials.suspects if one not in accused)
    reasons = [f"Without {', '.join(accused)} it did not come back at {_steps(tried)}."]
    if bystanders:
        reasons.append(f"With {', '.join(bystanders)} left in and the others out it did not either: not to blame.")
    together = [group for trials in tried.values() for group in trials.convicted if len(group) > 1]
    reasons += [f"Blamed together, for no part of them did it alone: {', '.join(sorted(group))}." for group in together]
    emptied = frozenset(step.step for step in without.steps if step.tokens == 0) & frozenset(tried)
    if emptied:
        reasons.append(f"At {_steps(emptied)} no other sample was left, so nothing else could have caused it.")
    return reasons


def _once(samples: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(samples))


def _variant(name: str, replays: Sequence[Replay]) -> Replay | None:
    return next((replay for replay in replays if replay.name == name), None)


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
