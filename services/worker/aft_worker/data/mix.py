"""How a set of mixture weights hands out slots to domains, in closed form."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from aft_worker.data.errors import InvalidMix

PERIOD = 1024
"""Slots after which the pattern repeats; a share is met to within one part in this many."""


@dataclass(frozen=True, kw_only=True)
class MixPattern:
    """One period of slots, each given to a domain; every domain's slots lie as evenly as they can."""

    domains: tuple[str, ...]
    """The domain of each slot of the period."""
    slots: Mapping[str, tuple[int, ...]]
    """The slots of each domain, ascending."""

    def domain_at(self, slot: int) -> str:
        """The domain of the slot `slot` places after the pattern began."""
        return self.domains[slot % PERIOD]

    def drawn(self, domain: str, slots: int) -> int:
        """How many of the pattern's first `slots` slots belong to `domain`."""
        own = self.slots.get(domain, ())
        periods, rest = divmod(slots, PERIOD)
        return periods * len(own) + bisect_left(own, rest)


def pattern_of(weights: Mapping[str, float]) -> MixPattern:
    """The pattern that draws with `weights`; a domain of weight 0 gets no slot, any other at least one."""
    return _pattern(tuple(sorted(weights.items())))


@lru_cache(maxsize=256)
def _pattern(weights: tuple[tuple[str, float], ...]) -> MixPattern:
    counts = _quantised({domain: weight for domain, weight in weights if _checked(domain, weight) > 0})
    # Sorting is stable and the names come sorted, so equal places go to the name that sorts first.
    places = sorted(
        ((k + 0.5) / count, order, domain) for order, (domain, count) in enumerate(counts.items()) for k in range(count)
    )
    domains = tuple(domain for _, _, domain in places)
    return MixPattern(
        domains=domains,
        slots={name: tuple(i for i, domain in enumerate(domains) if domain == name) for name in counts},
    )


def _checked(domain: str, weight: float) -> float:
    if not math.isfinite(weight) or weight < 0:
        raise InvalidMix(f"Mixture weight of domain {domain!r} is {weight}; give a finite number of at least 0.")
    return weight


def _quantised(weights: Mapping[str, float]) -> dict[str, int]:
    """Slots of each domain in one period, by the largest-remainder method with a floor of one."""
    if not weights or len(weights) > PERIOD:
        raise InvalidMix(
            f"{len(weights)} domains have a weight above 0; a mix needs at least one and at most {PERIOD}."
        )
    # Dividing by the largest first keeps the sum finite for any finite weights.
    largest = max(weights.values())
    total = math.fsum(weight / largest for weight in weights.values())
    quota = {domain: weight / largest / total * PERIOD for domain, weight in weights.items()}
    counts = {domain: max(1, math.floor(share)) for domain, share in quota.items()}
    while (left := PERIOD - sum(counts.values())) != 0:
        if left > 0:
            neediest = max(counts, key=lambda domain: quota[domain] - counts[domain])
            counts[neediest] += 1
        else:
            fullest = max(counts, key=lambda domain: (counts[domain] - quota[domain]) if counts[domain] > 1 else -1.0)
            counts[fullest] -= 1
    return counts
