"""Figures: what the outcomes of many runs add up to, with bootstrap intervals over seeds."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.faults.case import WINDOW_STEPS
from benchmarks.faults.outcome import Outcome
from benchmarks.report import Bound, Figure, at_least, at_most, watched

DETECT_WITHIN = 32
"""Steps from the first harmful one within which an alarm counts."""
HEALED = 1.01
"""Final held-out loss over that of the same run without the fault, at most."""
RESAMPLES = 1000

Losses = dict[int, float]
"""Final held-out loss of the undisturbed run, by seed."""
Value = Callable[[Sequence[Outcome]], float | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure and how it is computed; None where there is nothing to compute it from."""

    figure: Figure
    value: Value


def recall(outcomes: Sequence[Outcome]) -> float | None:
    """Share of runs with an alarm in time."""
    return _share([detected(one) for one in outcomes])


def detected(outcome: Outcome) -> bool:
    """Whether an alarm came within `DETECT_WITHIN` steps of the first harmful step."""
    first = outcome.first_step
    return first is not None and any(first <= step < first + DETECT_WITHIN for step in outcome.alarms)


def attribution_precision(outcomes: Sequence[Outcome]) -> float | None:
    """Share of blamed rows that did harm."""
    blamed = [(culprit in one.culprits) for one in outcomes for culprit in _blamed(one)]
    return _share(blamed)


def attribution_recall(outcomes: Sequence[Outcome]) -> float | None:
    """Share of harmful rows that were blamed."""
    return _share([culprit in _blamed(one) for one in outcomes for culprit in one.culprits])


def verdict_accuracy(outcomes: Sequence[Outcome]) -> float | None:
    """Share of runs whose first diagnosis of the fault has the right class; no diagnosis is a wrong one."""
    return _share([right_verdict(one) for one in outcomes])


def right_verdict(outcome: Outcome) -> bool:
    """Whether the first diagnosis at or after the first harmful step has the right class."""
    assert outcome.first_step is not None
    findings = [one for one in outcome.findings if one.first_step >= outcome.first_step]
    return bool(findings) and findings[0].verdict == outcome.verdict


def healed(losses: Losses) -> Value:
    """Share of runs that end within a hundredth of the undisturbed run."""
    return lambda outcomes: _share([is_healed(one, losses) for one in outcomes])


def is_healed(outcome: Outcome, losses: Losses) -> bool:
    """Whether the run came to its end with a loss that is as good as the undisturbed run's."""
    return outcome.loss is not None and outcome.loss <= HEALED * losses[outcome.seed]


def windows_lost(outcomes: Sequence[Outcome]) -> float | None:
    """Median windows thrown away per rollback."""
    lost = [steps / WINDOW_STEPS for one in outcomes for steps in one.lost_steps]
    return statistics.median(lost) if lost else None


def human_questions(outcomes: Sequence[Outcome]) -> float | None:
    """Questions a run."""
    return statistics.fmean(one.questions for one in outcomes) if outcomes else None


def false_alarms(outcomes: Sequence[Outcome]) -> float | None:
    """Alarms per 10,000 trained steps of runs in which nothing is wrong."""
    steps = sum(one.steps for one in outcomes)
    return 1e4 * sum(len(one.alarms) for one in outcomes) / steps if steps else None


def interval(value: Value, outcomes: Sequence[Outcome]) -> tuple[float, float] | None:
    """95 % bootstrap interval, runs drawn again with replacement."""
    if len(outcomes) < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        again = value([outcomes[place] for place in rng.integers(0, len(outcomes), len(outcomes))])
        if again is not None:
            drawn.append(again)
    if not drawn:
        return None
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def fault_measures(losses: Losses) -> tuple[Measure, ...]:
    """What is measured on the runs of one fault."""
    return (
        Measure(figure=at_least("recall", 0.95), value=recall),
        Measure(figure=watched("attribution_precision"), value=attribution_precision),
        Measure(figure=watched("attribution_recall"), value=attribution_recall),
        Measure(figure=watched("verdict_accuracy"), value=verdict_accuracy),
        Measure(figure=watched("healed_within_1pct"), value=healed(losses)),
        Measure(figure=watched("windows_lost_median"), value=windows_lost),
        Measure(figure=watched("human_questions"), value=human_questions),
    )


def overall_measures(losses: Losses) -> tuple[Measure, ...]:
    """What is measured on the runs of all faults."""
    return (
        Measure(figure=at_least("recall_all", 0.98), value=recall),
        Measure(figure=at_least("attribution_precision", 0.97), value=attribution_precision),
        Measure(figure=at_least("attribution_recall", 0.95), value=attribution_recall),
        Measure(figure=at_least("verdict_accuracy", 0.93), value=verdict_accuracy),
        Measure(figure=at_least("healed_within_1pct", 0.95), value=healed(losses)),
        Measure(figure=at_most("windows_lost_median", 1), value=windows_lost),
        Measure(figure=at_most("human_questions", 0), value=human_questions),
    )


FALSE_ALARMS = Measure(figure=at_most("false_alarms_per_10k", 1), value=false_alarms)
RECALL_MIN = Figure(name="recall_min", bound=Bound.MIN, target=0.95)


def _blamed(outcome: Outcome) -> set[str]:
    return {culprit for finding in outcome.findings for culprit in finding.culprits}


def _share(hits: Sequence[bool]) -> float | None:
    return math.fsum(hits) / len(hits) if hits else None
