"""Median and robust spread: statistics that a few bad values cannot move."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAD_TO_SD = 1.4826
"""1 / Phi^-1(3/4): makes the MAD of normal values their standard deviation (Leys et al., 2013)."""

UPPER_DECILE_TO_SD = 1 / 1.2816
"""1 / Phi^-1(9/10): does the same for the distance from the median to the ninth decile."""

SMALL_SAMPLE = 5.0
"""The spread of n values is widened by 1 + 5/n.

The MAD of 16 normal values is less than half of the true one often enough to call 0.5 of 1,000 clean values six
deviations out; widened, it is at most 0.2 (20,000 simulated draws; with the tail term below, under 0.05).
"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where clean values lie and how far they spread."""

    median: float
    spread: float

    def z(self, value: float) -> float:
        """Robust standard deviations that `value` stands above the median; negative below it."""
        return (value - self.median) / self.spread


def scale_of(values: Iterable[float], *, floor: float, trim_z: float) -> Scale:
    """The scale of finite `values`, of which there must be at least one; the spread is never below `floor`.

    spread = max(1.4826 * MAD, (q90 - median) / 1.2816) * (1 + 5/n). The second term is the MAD's equal for normal
    values and larger for a heavy upper tail, which the MAD does not see; q90 is that of the values that stand no more
    than `trim_z` times max(1.4826 * MAD, floor) above the median. The worker's guard uses the same formula.
    """
    return scale_of_ordered(sorted(values), floor=floor, trim_z=trim_z)


def scale_of_ordered(ordered: Sequence[float], *, floor: float, trim_z: float) -> Scale:
    """`scale_of` values that stand in order of size already."""
    middle = median_of(ordered)
    deviation = MAD_TO_SD * _mad(ordered, middle)
    kept = ordered[: _reach(ordered, middle, deviation, floor=floor, trim_z=trim_z)]
    tail = UPPER_DECILE_TO_SD * (ninth_decile(kept) - middle)
    return Scale(median=middle, spread=max(max(deviation, tail) * (1 + SMALL_SAMPLE / len(ordered)), floor))


def upper_spread_of(values: Iterable[float], *, floor: float, trim_z: float) -> float:
    """How far finite `values` spread above their median; never less than `floor`. There must be at least one.

    spread = sqrt(mean((x - median)^2)) * (1 + 5/n) over those above the median, the upper semi-deviation: the standard
    deviation of normal values, and larger for a heavy upper tail, of which it counts every value where the ninth decile
    counts none beyond itself. Left out are values further up than `trim_z` times max(1.4826 * MAD, floor).
    """
    ordered = sorted(values)
    middle = median_of(ordered)
    reach = _reach(ordered, middle, MAD_TO_SD * _mad(ordered, middle), floor=floor, trim_z=trim_z)
    above = [(value - middle) ** 2 for value in ordered[bisect_right(ordered, middle) : reach]]
    if not above:
        return floor
    return max(math.sqrt(sum(above) / len(above)) * (1 + SMALL_SAMPLE / len(ordered)), floor)


def log_or_none(norm: float) -> float | None:
    """The natural log of a norm; None for a norm that has none (zero, NaN, infinite)."""
    return math.log(norm) if math.isfinite(norm) and norm > 0 else None


def median_of(ordered: Sequence[float]) -> float:
    """The median of values that stand in order of size."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _reach(ordered: Sequence[float], middle: float, deviation: float, *, floor: float, trim_z: float) -> int:
    """How many values stand no further up than `trim_z` deviations, of which none is smaller than `floor`."""
    return bisect_right(ordered, middle + trim_z * max(deviation, floor))


def _mad(ordered: Sequence[float], middle: float) -> float:
    """The median distance from `middle`. The distances to either side of it are in order of size already."""
    split, half = bisect_left(ordered, middle), len(ordered) // 2
    upper = _distance(ordered, middle, split, half)
    return upper if len(ordered) % 2 else (_distance(ordered, middle, split, half - 1) + upper) / 2


def _distance(ordered: Sequence[float], middle: float, split: int, nearer: int) -> float:
    """The distance from `middle` of the value that so many others are nearer than; those before `split` lie below."""
    least, most = max(0, nearer - (len(ordered) - split)), min(nearer, split)
    while least < most:  # how many of the nearer ones lie below
        below = (least + most) // 2
        if middle - ordered[split - 1 - below] < ordered[split + nearer - below - 1] - middle:
            least = below + 1
        else:
            most = below
    sides = []
    if least < split:
        sides.append(middle - ordered[split - 1 - least])
    if split + nearer - least < len(ordered):
        sides.append(ordered[split + nearer - least] - middle)
    return min(sides)


def ninth_decile(ordered: Sequence[float]) -> float:
    """The value that nine in ten of those in order of size do not exceed."""
    return ordered[9 * len(ordered) // 10]
