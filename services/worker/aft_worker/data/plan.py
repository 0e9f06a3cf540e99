"""The data plan: which row each slot of each step trains on, as a pure function of seed, step and schedule.

A slot is one line's place in one step, and a line is one row or, when packing, several. Each domain is read by a cursor
that never stands still and never jumps: position p of a domain is line `permutation(seed, domain, epoch)[p % lines]`
with epoch = p // lines. How far each cursor has come is a closed form over the mix segments, so nothing is remembered
between steps and a change of the mix repeats and skips nothing. A blacklisted row's slot goes to a substitute that
depends on the seed and the slot alone, so that banning one sample moves no other. On a line with other rows its place
stays empty.
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
from aft_worker.data.packing import PackedLine


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A line of a domain, drawn for one place in a step."""

    domain: str
    row: int
    """The line's number, which is the row's where each row has a line of its own."""


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
    lines: Mapping[str, Sequence[PackedLine]] | None = None
    """Packed lines by domain; None where each row has a line of its own."""

    @property
    def sizes(self) -> dict[str, int]:
        """Lines by domain."""
        return {domain: len(lines) for domain, lines in (self.lines or self.sample_ids).items()}

    def slots_at(self, step: int, schedule: Schedule) -> tuple[Slot, ...]:
        """The lines that `step` trains on, in order.

        Raises:
            EverythingBlacklisted: a slot's domain has no row left.
            InvalidMix: the mix names an unknown domain or has weights that cannot be drawn with.
            EmptyDomain: the mix draws from a domain without rows.
        """
        segments = self._segments(schedule)
        blacklist = schedule.blacklist_at(step)
        first = step * self.batch_size
        return tuple(self._slot(slot, segments, blacklist) for slot in range(first, first + self.batch_size))

    def rows_of(self, slot: Slot) -> PackedLine:
        """The rows on the line in `slot`, banned ones among them."""
        return (slot.row,) if self.lines is None else self.lines[slot.domain][slot.row]

    def sample_id(self, slot: Slot) -> str:
        """The id of the first row in `slot`."""
        return self.sample_ids[slot.domain][self.rows_of(slot)[0]]

    def _slot(self, slot: int, segments: Sequence["_Segment"], blacklist: frozenset[str]) -> Slot:
        domain, position = _cursor(slot, segments)
        lines = self._size(domain)
        if not lines:
            raise EmptyDomain(f"Domain {domain!r} has no rows; give it data or the weight 0.", domain=domain)
        drawn = Slot(domain=domain, row=_permuted(position % lines, lines, self.seed, domain, position // lines))
        return drawn if self._is_allowed(drawn, blacklist) else self._substitute(slot, domain, blacklist)

    def _substitute(self, slot: int, domain: str, blacklist: frozenset[str]) -> Slot:
        """The first allowed line in an order of the whole domain that belongs to this slot alone."""
        lines = self._size(domain)
        for attempt in range(lines):
            candidate = Slot(domain=domain, row=_permuted(attempt, lines, self.seed, domain, f"substitute {slot}"))
            if self._is_allowed(candidate, blacklist):
                return candidate
        raise EverythingBlacklisted(
            f"All {len(self.sample_ids[domain])} rows of domain {domain!r} are blacklisted; "
            "give it other data or the weight 0.",
            domain=domain,
        )

    def _size(self, domain: str) -> int:
        return len((self.lines or self.sample_ids)[domain])

    def _is_allowed(self, slot: Slot, blacklist: frozenset[str]) -> bool:
        """Whether a row on the line may be loaded."""
        if not blacklist:
            return True
        ids = self.sample_ids[slot.domain]
        return any(ids[row] not in blacklist for row in self.rows_of(slot))

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
