"""The data plan: which row each slot of each step trains on, as a pure function of seed, step and schedule.

A slot is one row's place in one step. Each domain is read by a cursor that never stands still and never jumps: position
p of a domain is row `permutation(seed, domain, epoch)[p % rows]` with epoch = p // rows. How far each cursor has come
is a closed form over the mix segments, so nothing is remembered between steps and a change of the mix repeats and skips
nothing. A blacklisted row's slot goes to a substitute that depends on the seed and the slot alone, so that banning one
sample moves no other.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from grain.experimental import index_shuffle

from aft_contracts import Schedule
from aft_worker.data.errors import EmptyDomain, EverythingBlacklisted, InvalidMix
from aft_worker.data.mix import MixPattern, pattern_of


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A row of a domain, drawn for one place in a step."""

    domain: str
    row: int


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Draws rows from domains; holds no state between calls."""

    seed: int
    sample_ids: Mapping[str, Sequence[str]]
    """Id of every row, by domain."""
    weights: Mapping[str, float]
    """The spec's mixture weights, which hold until the schedule's first segment."""
    batch_size: int
    """Slots a step."""

    @property
    def sizes(self) -> dict[str, int]:
        """Rows by domain."""
        return {domain: len(ids) for domain, ids in self.sample_ids.items()}

    def slots_at(self, step: int, schedule: Schedule) -> tuple[Slot, ...]:
        """The rows that `step` trains on, in row order.

        Raises:
            EverythingBlacklisted: a slot's domain has no row left.
            InvalidMix: the mix names an unknown domain or has weights that cannot be drawn with.
            EmptyDomain: the mix draws from a domain without rows.
        """
        segments = self._segments(schedule)
        blacklist = schedule.blacklist_at(step)
        first = step * self.batch_size
        return tuple(self._slot(slot, segments, blacklist) for slot in range(first, first + self.batch_size))

    def sample_id(self, slot: Slot) -> str:
        """The id of the row in `slot`."""
        return self.sample_ids[slot.domain][slot.row]

    def _slot(self, slot: int, segments: Sequence["_Segment"], blacklist: frozenset[str]) -> Slot:
        domain, position = _cursor(slot, segments)
        rows = len(self.sample_ids[domain])
        if not rows:
            raise EmptyDomain(f"Domain {domain!r} has no rows; give it data or the weight 0.", domain=domain)
        drawn = Slot(domain=domain, row=_permuted(position % rows, rows, self.seed, domain, position // rows))
        if not blacklist or self.sample_id(drawn) not in blacklist:
            return drawn
        return self._substitute(slot, domain, blacklist)

    def _substitute(self, slot: int, domain: str, blacklist: frozenset[str]) -> Slot:
        """The first allowed row in an order of the whole domain that belongs to this slot alone."""
        rows = len(self.sample_ids[domain])
        for attempt in range(rows):
            candidate = Slot(domain=domain, row=_permuted(attempt, rows, self.seed, domain, f"substitute {slot}"))
            if self.sample_id(candidate) not in blacklist:
                return candidate
        raise EverythingBlacklisted(
            f"All {rows} rows of domain {domain!r} are blacklisted; give it other data or the weight 0.",
            domain=domain,
        )

    def _segments(self, schedule: Schedule) -> list["_Segment"]:
        """The mix segments that matter, oldest first; of several, the last one at or before a step holds."""
        mixes: list[tuple[int, Mapping[str, float]]] = [(0, self.weights)]
        mixes += [(segment.step, segment.weights) for segment in schedule.mix]
        segments: list[_Segment] = []
        for step, weights in reversed(mixes):
            if not segments or step < segments[-1].step:
                segments.append(_Segment(step=step, start=step * self.batch_size, pattern=self._pattern(weights)))
        return segments[::-1]

    def _pattern(self, weights: Mapping[str, float]) -> MixPattern:
        if unknown := sorted(set(weights) - set(self.sample_ids)):
            raise InvalidMix(f"The mix names unknown domains {unknown}; the run has {sorted(self.sample_ids)}.")
        return pattern_of(weights)


@dataclass(frozen=True, kw_only=True)
class _Segment:
    step: int
    start: int
    """First slot of the segment, counted over the whole run."""
    pattern: MixPattern


def _cursor(slot: int, segments: Sequence[_Segment]) -> tuple[str, int]:
    """The domain of `slot` and how many slots that domain had before it."""
    current = max(i for i, segment in enumerate(segments) if segment.start <= slot)
    held = segments[current]
    domain = held.pattern.domain_at(slot - held.start)
    earlier = sum(
        before.pattern.drawn(domain, after.start - before.start) for before, after in pairwise(segments[: current + 1])
    )
    return domain, earlier + held.pattern.drawn(domain, slot - held.start)


# The cipher behind index_shuffle walks until it lands inside the domain, which takes milliseconds for a few rows.
@lru_cache(maxsize=1 << 16)
def _permuted(index: int, rows: int, seed: int, domain: str, purpose: int | str) -> int:
    """Where `index` lands in the permutation of `rows` rows that seed, domain and purpose name."""
    key = hashlib.sha256(f"{seed}/{domain}/{purpose}".encode()).digest()
    # index_shuffle takes the largest index, not the count, and a seed of 32 bits without sign.
    return int(index_shuffle(index, max_index=rows - 1, seed=int.from_bytes(key[:4], "big"), rounds=4))
