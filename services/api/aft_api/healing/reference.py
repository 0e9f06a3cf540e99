"""Clean samples by domain: what a single row's loss and gradient norm are measured against."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple, TypeVar

from aft_api.healing.robust import log_or_none, median_of, upper_spread_of
from aft_api.healing.robust_z import ORDINARY
from aft_contracts import DetectionSpec, SampleRecord, StepRecord

T = TypeVar("T")

BLOCKS = 16
"""Parts of a domain, by length, of which each has a median of those about as long."""


class _Known(NamedTuple):
    """A clean sample's figures; a thousand of them are made for each window."""

    tokens: int
    loss: float
    grad_norm: float
    place: tuple[int, str]


class _Domain:
    """A domain's clean samples in order of length: each figure in a list of its own, for they are searched often."""

    def __init__(self, known: list[_Known], spec: DetectionSpec) -> None:
        known.sort(key=attrgetter("tokens"))
        self._spec = spec
        self.tokens = [one.tokens for one in known]
        self.losses = [one.loss for one in known]
        self.ordered_losses = sorted(self.losses)
        self._grad_norms = [one.grad_norm for one in known]
        self.at: dict[tuple[int, str], list[int]] = defaultdict(list)
        """Where a sample of a step stands."""
        for place, one in enumerate(known):
            self.at[one.place].append(place)

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.tokens)

    @cached_property
    def log_norms(self) -> list[float | None]:
        """Logs of the gradient norms; None for a norm that has none."""
        return [log_or_none(norm) for norm in self._grad_norms]

    @cached_property
    def loss_spread(self) -> float:
        """Spread of the losses of rows as long as most, in nats."""
        return self._spread(self.losses, floor=self.loss_floor(median_of(self.ordered_losses)))

    @cached_property
    def norm_spread(self) -> float:
        """Spread of the log norms of rows as long as most."""
        return self._spread(self.log_norms, floor=self._spec.sample_grad_norm_floor)

    def loss_floor(self, median: float) -> float:
        """The smallest spread of losses about this median that is believed, in nats."""
        return max(self._spec.sample_floor_share * abs(median), self._spec.sample_floor_nats)

    def shortness(self, tokens: int) -> float:
        """How much wider figures spread that are means of so few tokens: 1 for rows as long as most, or longer."""
        return math.sqrt(max(1.0, self.tokens[len(self) // 2] / max(1, tokens)))

    def nearest(self, tokens: int) -> slice:
        """Where those nearest in length stand, in order of length."""
        count, spec = len(self), self._spec
        wanted = min(spec.nearest_samples, max(spec.min_samples, int(spec.nearest_share * count))) + 1
        middle = (bisect_left(self.tokens, tokens) + bisect_right(self.tokens, tokens)) // 2
        start = max(0, min(middle - wanted // 2, count - wanted))
        return slice(start, start + wanted)

    def others(self, figures: Sequence[T], near: slice, own: tuple[int, str]) -> list[T]:
        """The figures of those near, without those of the sample itself."""
        taken = list(figures[near])
        for place in reversed(self.at.get(own, ())):
            if near.start <= place < near.start + len(taken):
                del taken[place - near.start]
        return taken

    def _spread(self, figures: Sequence[float | None], *, floor: float) -> float:
        size = math.ceil(len(self) / BLOCKS)
        left: list[float] = []
        for start in range(0, len(self), size):
            left += self._left(figures, slice(start, start + size))
        return upper_spread_of(left, floor=floor, trim_z=self._spec.trim_z) if left else floor

    def _left(self, figures: Sequence[float | None], block: slice) -> list[float]:
        """What a block's figures differ by from the median of those about as long as its middle row."""
        lengths = self.tokens[block]
        near = _ordered(figures[self.nearest(lengths[len(lengths) // 2])])
        if not near:
            return []
        usual = median_of(near)
        pairs = zip(figures[block], lengths, strict=True)
        return [(figure - usual) / self.shortness(tokens) for figure, tokens in pairs if figure is not None]


def _ordered(figures: Iterable[float | None]) -> list[float]:
    """Those that are there, in order of size."""
    return sorted([figure for figure in figures if figure is not None])


class SampleReference:
    """Measures a sample against the clean samples of its domain that are about as long.

    z = (x - median) / (spread * sqrt(max(1, usual tokens / its tokens))): the loss of a row is a mean over its tokens,
    and short answers vary more. The median is that of the share `nearest_share` of its domain that is nearest in
    length, `nearest_samples` at most. A small share would follow length more closely, but bad rows tend to be of one
    length: one in ten of a domain may be four in ten of the nearest quarter, and then they are their own norm. The
    spread is `robust.upper_spread_of` what all rows of the domain differ by from the median of those about as long as
    they, scaled by length likewise: of 256 rows alone it would be known to 7 %, most of a deviation at ten, and a
    domain in which a few valid rows lie far out is as wide as they make it. (Both the scaling by length and the spread
    that rows of all lengths share are our own.)
    """

    def __init__(self, steps: Iterable[StepRecord], spec: DetectionSpec) -> None:
        self._spec = spec
        known: dict[str, list[_Known]] = defaultdict(list)
        for step in steps:
            for sample in step.samples:
                if sample.tokens > 0 and math.isfinite(sample.loss):
                    known[sample.domain].append(
                        _Known(sample.tokens, sample.loss, sample.grad_norm, (step.step, sample.sample_id))
                    )
        self._domains = {name: _Domain(samples, spec) for name, samples in known.items()}

    def loss_z(self, sample: SampleRecord, *, step: int) -> float | None:
        """Robust z of the sample's loss; None while fewer than `min_samples` others of its domain are known."""
        if not math.isfinite(sample.loss):
            return math.inf
        domain = self._domains.get(sample.domain)
        if domain is None:
            return None
        middle = self._middle(domain, sample, step, domain.losses)
        if middle is None:
            return None
        spread = max(domain.loss_spread, domain.loss_floor(middle))
        return (sample.loss - middle) / (spread * domain.shortness(sample.tokens))

    def standing_out(self, sample: SampleRecord, *, step: int, at_least: float) -> float | None:
        """The z of a loss that stands at least so far out; None for the others, which is soon seen of nearly all."""
        if self._is_ordinary(sample, step, at_least):
            return None
        z = self.loss_z(sample, step=step)
        return z if z is not None and z >= at_least else None

    def grad_norm_z(self, sample: SampleRecord, *, step: int) -> float | None:
        """Robust z of the log of the sample's gradient norm; None as for the loss, and for a norm of zero."""
        if not math.isfinite(sample.grad_norm):
            return math.inf
        value, domain = log_or_none(sample.grad_norm), self._domains.get(sample.domain)
        if value is None or domain is None:
            return None
        middle = self._middle(domain, sample, step, domain.log_norms)
        if middle is None:
            return None
        return (value - middle) / (domain.norm_spread * domain.shortness(sample.tokens))

    def _middle(
        self, domain: _Domain, sample: SampleRecord, step: int, figures: Sequence[float | None]
    ) -> float | None:
        """The median of the nearest figures but for its own; None where they are too few."""
        others = _ordered(domain.others(figures, domain.nearest(sample.tokens), (step, sample.sample_id)))
        return median_of(others) if len(others) >= self._spec.min_samples else None

    def _is_ordinary(self, sample: SampleRecord, step: int, at_least: float) -> bool:
        """Whether more than half of the nearest losses are so close below this one, or above, that no z of `at_least`
        is possible: no row's spread is smaller than its domain's."""
        domain = self._domains.get(sample.domain)
        if domain is None or not math.isfinite(sample.loss):
            return False
        near = domain.nearest(sample.tokens)
        close = sample.loss - at_least * domain.loss_spread * ORDINARY
        own = len(domain.at.get((step, sample.sample_id), ()))
        half: float = (min(near.stop, len(domain)) - near.start) / 2
        if bisect_right(domain.ordered_losses, close) < half - own:
            return True  # so few of all are lower that it does not matter where they stand
        return sum(map(close.__lt__, domain.losses[near])) - own > half
