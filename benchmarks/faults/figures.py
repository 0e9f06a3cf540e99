"""Figures: what the outcomes of many runs add up to."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from aft_contracts import AnomalyKind, Verdict
from benchmarks.faults.case import WINDOW_STEPS
from benchmarks.faults.intervals import Exact, Interval, Value, by_seeds, of_rate, of_share, wider
from benchmarks.faults.outcome import Alarm, Outcome
from benchmarks.report import Bound, Figure, at_least, at_most, watched

DETECT_WITHIN = 32
"""Steps from the first harmful one within which an alarm counts."""
HEALED = 1.01
"""Final held-out loss over that of the same run without the fault, at most."""

Losses = dict[int, float]
"""Final held-out loss of the undisturbed run, by seed."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure and how it is computed; None where there is nothing to compute it from."""

    figure: Figure
    value: Value
    exact: Exact | None = None
    """An interval that is none of resampling, where the figure is a share or a rate."""

    def interval(self, outcomes: Sequence[Outcome]) -> Interval | None:
        """At 95 %: the wider of the exact interval and the bootstrap over seeds."""
        return wider(by_seeds(self.value, outcomes), self.exact(outcomes) if self.exact else None)


def share(figure: Figure, value: Value) -> Measure:
    """A share, whose trials are the runs from which it can be computed: what happens in one run hangs together."""

    def exact(outcomes: Sequence[Outcome]) -> Interval | None:
        trials, hits = sum(value([one]) is not None for one in outcomes), value(outcomes)
        return None if hits is None else of_share(hits, trials)

    return Measure(figure=figure, value=value, exact=exact)


def recall(outcomes: Sequence[Outcome]) -> float | None:
    """Share of runs with an alarm in time."""
    return _share([detected(one) for one in outcomes])


def recall_min(outcomes: Sequence[Outcome]) -> float | None:
    """Recall of the fault that is found most seldom."""
    return min((found for runs in _by_case(outcomes) if (found := recall(runs)) is not None), default=None)


def detected(outcome: Outcome) -> bool:
    """Whether an alarm was raised within `DETECT_WITHIN` steps of the first harmful step."""
    steps = latency(outcome)
    return steps is not None and steps < DETECT_WITHIN


def latency(outcome: Outcome) -> int | None:
    """Steps trained between the first harmful step and the alarm; 0 for one raised at once, None for none.

    What counts is when the alarm was raised, and it has to be about a step that is harmed. A damage that lies in the
    state before its first harmful step can be seen before that step is trained: in the scores of what is there.
    """
    first, harmed_after = outcome.first_step, outcome.harmed_after
    if first is None or harmed_after is None:
        return None
    if _is_seen_before_harm(outcome):
        return 0
    raised = [alarm.after for alarm in outcome.alarms if alarm.step >= first and alarm.after > harmed_after]
    return min(raised) - harmed_after - 1 if raised else None


def _is_seen_before_harm(outcome: Outcome) -> bool:
    """Whether the scores at the first harmful step gave a damaged state away, and it was diagnosed as one there."""
    here = outcome.first_step
    is_scored = any(one.step == here and one.kind == AnomalyKind.EVALUATION_DROP for one in outcome.alarms)
    is_diagnosed = any(one.first_step == here and one.verdict == Verdict.STATE for one in outcome.findings)
    return outcome.verdict == Verdict.STATE and is_scored and is_diagnosed


def latency_median(outcomes: Sequence[Outcome]) -> float | None:
    """Median steps to the alarm, of the runs that had one."""
    known = [steps for one in outcomes if (steps := latency(one)) is not None]
    return statistics.median(known) if known else None


def attribution_precision(outcomes: Sequence[Outcome]) -> float | None:
    """Share of the rows named as a cause that are the fault."""
    return _share([culprit in one.culprits for one in outcomes for culprit in blamed(one)])


def attribution_recall(outcomes: Sequence[Outcome]) -> float | None:
    """Share of the rows that are the fault that were named as a cause."""
    return _share([culprit in blamed(one) for one in outcomes for culprit in one.culprits])


def attribution_precision_macro(outcomes: Sequence[Outcome]) -> float | None:
    """Mean over the data faults: the fault with eight rows a run weighs no more than the others."""
    return _mean([attribution_precision(runs) for runs in _by_case(outcomes) if runs[0].culprits])


def attribution_recall_macro(outcomes: Sequence[Outcome]) -> float | None:
    """Mean over the data faults."""
    return _mean([attribution_recall(runs) for runs in _by_case(outcomes) if runs[0].culprits])


def blamed(outcome: Outcome) -> set[str]:
    """Rows that any diagnosis of the run names as a cause."""
    return {culprit for finding in outcome.findings for culprit in finding.culprits}


def innocent_bans(outcomes: Sequence[Outcome]) -> float | None:
    """Rows that were banned and are no fault, in all runs."""
    return float(sum(len(banned(one) - set(one.culprits)) for one in outcomes))


def banned(outcome: Outcome) -> set[str]:
    """Rows that any repair of the run bans."""
    return {row for finding in outcome.findings for row in finding.banned}


def verdict_accuracy(outcomes: Sequence[Outcome]) -> float | None:
    """Share of runs whose every diagnosis of the fault has the right class; none at all is a wrong one."""
    return _share([right_verdict(one) for one in outcomes])


def first_verdict_accuracy(outcomes: Sequence[Outcome]) -> float | None:
    """The same of the first diagnosis alone."""
    return _share([verdicts(one)[:1] == [one.verdict] for one in outcomes])


def right_verdict(outcome: Outcome) -> bool:
    """Whether the fault was diagnosed, and never as something else."""
    return set(verdicts(outcome)) == {outcome.verdict}


def verdicts(outcome: Outcome) -> list[str]:
    """The classes of all diagnoses that explain a step at or after the first harmful one."""
    assert outcome.first_step is not None
    return [one.verdict for one in outcome.findings if one.last_step >= outcome.first_step]


def healed(losses: Losses) -> Value:
    """Share of runs that end within a hundredth of the undisturbed run."""
    return lambda outcomes: _share([is_healed(one, losses) for one in outcomes])


def is_healed(outcome: Outcome, losses: Losses) -> bool:
    """Whether the run came to its end with a loss that is as good as the undisturbed run's."""
    return outcome.loss is not None and outcome.loss <= HEALED * losses[outcome.seed]


def ended(outcomes: Sequence[Outcome]) -> float | None:
    """Share of runs that were ended before their last step, which are not healed."""
    return _share([one.status != "succeeded" for one in outcomes])


def windows_lost(outcomes: Sequence[Outcome]) -> float | None:
    """Median windows thrown away per repaired incident; a repair that rolls nothing back loses none."""
    incidents = [incident for one in outcomes for incident in one.incidents if incident.is_repaired]
    return statistics.median(one.lost_steps / WINDOW_STEPS for one in incidents) if incidents else None


def windows_lost_rolled_back(outcomes: Sequence[Outcome]) -> float | None:
    """The same of the incidents for which steps were thrown away."""
    incidents = [incident for one in outcomes for incident in one.incidents if incident.lost_steps]
    return statistics.median(one.lost_steps / WINDOW_STEPS for one in incidents) if incidents else None


def replayed_steps(outcomes: Sequence[Outcome]) -> float | None:
    """Steps that replays trained, for each diagnosis."""
    diagnoses = sum(len(one.findings) for one in outcomes)
    return sum(one.replayed_steps for one in outcomes) / diagnoses if diagnoses else None


def human_questions(outcomes: Sequence[Outcome]) -> float | None:
    """Questions a run."""
    return statistics.fmean(one.questions for one in outcomes) if outcomes else None


def false_alarms(outcomes: Sequence[Outcome]) -> float | None:
    """Alarms per 10,000 steps on which all detectors are armed, of runs in which nothing is wrong."""
    steps = sum(one.armed_steps for one in outcomes)
    return 1e4 * sum(len(one.alarms) for one in outcomes) / steps if steps else None


def early_alarms(outcomes: Sequence[Outcome]) -> float | None:
    """Alarms about steps before the first harmful one, per 10,000 of those on which all detectors are armed."""
    steps = sum(one.armed_before for one in outcomes)
    return 1e4 * sum(len(before_harm(one)) for one in outcomes) / steps if steps else None


def before_harm(outcome: Outcome) -> list[Alarm]:
    """Alarms about steps on which nothing was wrong yet."""
    first = outcome.first_step
    return [alarm for alarm in outcome.alarms if first is not None and alarm.step < first]


def _questions_exact(outcomes: Sequence[Outcome]) -> Interval | None:
    return of_rate(sum(one.questions for one in outcomes), len(outcomes)) if outcomes else None


def _false_alarms_exact(outcomes: Sequence[Outcome]) -> Interval | None:
    steps = sum(one.armed_steps for one in outcomes)
    return of_rate(sum(len(one.alarms) for one in outcomes), steps / 1e4) if steps else None


def _early_alarms_exact(outcomes: Sequence[Outcome]) -> Interval | None:
    steps = sum(one.armed_before for one in outcomes)
    return of_rate(sum(len(before_harm(one)) for one in outcomes), steps / 1e4) if steps else None


def fault_measures(losses: Losses) -> tuple[Measure, ...]:
    """What is measured on the runs of one fault."""
    return (
        share(at_least("recall", 0.95), recall),
        Measure(figure=watched("latency_median_steps"), value=latency_median),
        share(watched("attribution_precision"), attribution_precision),
        share(watched("attribution_recall"), attribution_recall),
        share(watched("verdict_accuracy"), verdict_accuracy),
        share(watched("healed_within_1pct"), healed(losses)),
        Measure(figure=watched("windows_lost_median"), value=windows_lost),
        Measure(figure=watched("human_questions"), value=human_questions, exact=_questions_exact),
    )


def overall_measures(losses: Losses) -> tuple[Measure, ...]:
    """What is measured on the runs of all faults."""
    return (
        share(at_least("recall_all", 0.98), recall),
        RECALL_MIN,
        Measure(figure=watched("latency_median_steps"), value=latency_median),
        share(at_least("attribution_precision", 0.97), attribution_precision),
        share(at_least("attribution_recall", 0.95), attribution_recall),
        share(at_least("attribution_precision_macro", 0.97), attribution_precision_macro),
        share(at_least("attribution_recall_macro", 0.95), attribution_recall_macro),
        share(at_least("verdict_accuracy", 0.93), verdict_accuracy),
        share(watched("first_verdict_accuracy"), first_verdict_accuracy),
        share(at_least("healed_within_1pct", 0.95), healed(losses)),
        share(watched("ended_runs"), ended),
        Measure(figure=at_most("windows_lost_median", 1), value=windows_lost),
        Measure(figure=watched("windows_lost_rolled_back_median"), value=windows_lost_rolled_back),
        Measure(figure=watched("replayed_steps_per_diagnosis"), value=replayed_steps),
        Measure(figure=at_most("human_questions", 0), value=human_questions, exact=_questions_exact),
        Measure(figure=at_most("innocent_bans", 0), value=innocent_bans),
        Measure(figure=watched("early_alarms_per_10k"), value=early_alarms, exact=_early_alarms_exact),
    )


def _recall_min_exact(outcomes: Sequence[Outcome]) -> Interval | None:
    recalls = [(found, len(runs)) for runs in _by_case(outcomes) if (found := recall(runs)) is not None]
    return of_share(*min(recalls)) if recalls else None


RECALL_MIN = Measure(
    figure=Figure(name="recall_min", bound=Bound.MIN, target=0.95), value=recall_min, exact=_recall_min_exact
)
FALSE_ALARMS = Measure(figure=at_most("false_alarms_per_10k", 1), value=false_alarms, exact=_false_alarms_exact)


def _by_case(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    cases: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        cases.setdefault(outcome.case, []).append(outcome)
    return list(cases.values())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _share(hits: Sequence[bool]) -> float | None:
    return math.fsum(hits) / len(hits) if hits else None
