"""Intervals: how far a figure from a few seeds may lie from the truth, at 95 %."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.faults.outcome import Outcome

Interval = tuple[float, float]
Value = Callable[[Sequence[Outcome]], float | None]
Exact = Callable[[Sequence[Outcome]], Interval | None]

TAIL = 0.025
RESAMPLES = 1000
HALVINGS = 50


def by_seeds(value: Value, outcomes: Sequence[Outcome]) -> Interval | None:
    """Percentile bootstrap over seeds, drawn again with replacement: all runs of a seed come along together.

    Runs of one seed share their rows and their undisturbed run, so they are one cluster. As every seed has every case,
    each draw has as many runs of each fault. None for fewer than two seeds.
    """
    clusters: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        clusters.setdefault(outcome.seed, []).append(outcome)
    if len(clusters) < 2:
        return None
    runs, rng = list(clusters.values()), np.random.default_rng(0)
    draws = (rng.integers(0, len(runs), len(runs)) for _ in range(RESAMPLES))
    values = [value([one for place in draw for one in runs[place]]) for draw in draws]
    known = [one for one in values if one is not None]
    if not known:
        return None
    low, high = np.percentile(known, (100 * TAIL, 100 * (1 - TAIL)))
    return float(low), float(high)


def of_share(share: float, trials: int) -> Interval:
    """The exact interval of a share (Clopper & Pearson, 1934), which is no point where nothing was ever missed.

    Hits that are no whole number, as of rows that were found in part, are rounded outwards.
    """
    hits = share * trials
    least, most = math.floor(hits + 1e-9), math.ceil(hits - 1e-9)
    low = 0.0 if least == 0 else _root(lambda p: _at_least(least, trials, p) - TAIL)
    high = 1.0 if most == trials else _root(lambda p: TAIL - (1 - _at_least(most + 1, trials, p)))
    return low, high


def of_rate(events: int, exposure: float) -> Interval:
    """The exact interval of events per unit of exposure, were they Poisson (Garwood, 1936)."""
    most = 4.0 * events + 20.0
    low = 0.0 if events == 0 else _root(lambda mean: 1 - _fewer(events, mean) - TAIL, most)
    high = _root(lambda mean: TAIL - _fewer(events + 1, mean), most)
    return low / exposure, high / exposure


def wider(*intervals: Interval | None) -> Interval | None:
    """What spans them all; None where there is none."""
    known = [one for one in intervals if one is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _at_least(hits: int, trials: int, p: float) -> float:
    """P(X >= hits) of a binomial X."""
    return math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(hits, trials + 1))


def _fewer(events: int, mean: float) -> float:
    """P(X < events) of a Poisson X."""
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events))


def _root(rising: Callable[[float], float], high: float = 1.0) -> float:
    low = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
