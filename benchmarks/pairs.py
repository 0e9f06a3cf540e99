"""Interleaved timing: what is compared takes turns, so that whatever else the machine does hits both alike."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Measure = Callable[[], float]
"""Does a piece of work and says how many seconds it took."""

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The median of pairwise ratios."""

    median: float
    interval: tuple[float, float]
    """95 % bootstrap interval of the median."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Seconds of every arm in every round."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, arm: str) -> float:
        """Median seconds of an arm."""
        return float(np.median(self.seconds[arm]))

    def ratio(self, arm: str, *, over: str) -> Ratio:
        """Seconds of `arm` ÷ seconds of `over`, round by round."""
        return ratio_of(self.seconds[arm], self.seconds[over])


def stopwatch(work: Callable[[], object]) -> Measure:
    """Times `work`, which must have finished when it returns (`jax.block_until_ready`)."""

    def measure() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return measure


def interleaved(arms: Mapping[str, Measure], *, rounds: int, warm_ups: int = 1) -> Timings:
    """Every arm once a round, in turn forwards and backwards (AB BA AB …), after rounds that do not count."""
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(warm_ups + rounds):
        # Before the round and not whenever Python pleases, which would be in one arm and not in the other.
        gc.collect()
        for arm in list(arms) if number % 2 == 0 else list(arms)[::-1]:
            taken = arms[arm]()
            if number >= warm_ups:
                seconds[arm].append(taken)
    return Timings(seconds={arm: tuple(taken) for arm, taken in seconds.items()})


def ratio_of(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """Median of the pairwise ratios, and its interval.

    Raises:
        ValueError: the two are not pairs.
    """
    if not numerator or len(numerator) != len(denominator):
        raise ValueError(f"{len(numerator)} numerators and {len(denominator)} denominators are no pairs")
    ratios = np.asarray(numerator) / np.asarray(denominator)
    return Ratio(median=float(np.median(ratios)), interval=median_interval(ratios))


def median_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % interval of the median by the percentile bootstrap (Efron & Tibshirani, 1993), without chance."""
    values = np.asarray(values, np.float64)
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[drawn], axis=1), (2.5, 97.5))
    return float(low), float(high)
