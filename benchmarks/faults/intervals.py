"""Intervals: how far a figure from a few seeds may lie from the truth, at 95 %."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from benchmarks.faults.outcome import Outcome

Interval = tuple[float, float]
Value = Callable[[Sequence[Outcome]], float | None]
Exact = Callable[[Sequence[Outcome]], Interval | None]

TAIL = 0.025
RESAMPLES = 1000


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
    low = 0.0 if least == 0 else float(special.betaincinv(least, trials - least + 1, TAIL))
    high = 1.0 if most == trials else float(special.betaincinv(most + 1, trials - most, 1 - TAIL))
    return low, high


def of_rate(events: int, exposure: float) -> Interval:
    """The exact interval of events per unit of exposure, were they Poisson (Garwood, 1936)."""
    low = 0.0 if events == 0 else float(special.gammaincinv(events, TAIL))
    high = float(special.gammaincinv(events + 1, 1 - TAIL))
    return low / exposure, high / exposure


def wider(*intervals: Interval | None) -> Interval | None:
    """What spans them all; None where there is none."""
    known = [one for one in intervals if one is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None
