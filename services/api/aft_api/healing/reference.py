"""Clean samples by domain: what a single row's loss and gradient norm are measured against."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple, TypeVar

from aft_api.healing.robust import log_or_none, median_of, scale_of_ordered
from aft_api.healing.robust_z import ORDINARY
from aft_contracts import DetectionSpec, SampleRecord, StepRecord

T = TypeVar("T")


class _Known(NamedTuple):
    """A clean sample's figures; a thousand of them are made for each window."""

    tokens: int
    loss: float
    grad_norm: float
    place: tuple[int, str]


class _Domain:
    """A domain's clean samples in order of length: each figure in a list of its own, for they are searched often."""

    def __init__(self, known: list[_Known]) -> None:
        known.sort(key=attrgetter("tokens"))
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

    def nearest(self, tokens: int, spec: DetectionSpec) -> slice:
        """Where those nearest in length stand, in order of length."""
        count = len(self)
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


class SampleReference:
    """Measures a sample against the clean samples of its domain that are about as long.

    z = (x - median) / (spread * sqrt(max(1, median tokens / its tokens))), with `robust.scale_of` as the spread: the
    loss of a row is a mean over its tokens, and short answers vary more. The rows it is measured against are the share
    `nearest_share` of its domain that is nearest in length, `nearest_samples` at most: beyond those the scale no longer
    changes. A small share would follow length more closely, but bad rows tend to be of one length: one in ten of a
    domain may be four in ten of the nearest quarter, and then they are their own norm. (The scaling by length is our
    own.)
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
        self._domains = {name: _Domain(samples) for name, samples in known.items()}

    def loss_z(self, sample: SampleRecord, *, step: int) -> float | None:
        """Robust z of the sample's loss; None while fewer than `min_samples` others of its domain are known."""
        if not math.isfinite(sample.loss):
            return math.inf
        return self._z(sample, step, sample.loss, of=lambda domain: domain.losses, floor=self._loss_floor)

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
        value = log_or_none(sample.grad_norm)
        if value is None:
            return None
        return self._z(
            sample, step, value, of=lambda domain: domain.log_norms, floor=lambda _: self._spec.sample_grad_norm_floor
        )

    def _z(
        self,
        sample: SampleRecord,
        step: int,
        value: float,
        *,
        of: Callable[[_Domain], Sequence[float | None]],
        floor: Callable[[float], float],
    ) -> float | None:
        domain = self._domains.get(sample.domain)
        if domain is None:
            return None
        near, own = domain.nearest(sample.tokens, self._spec), (step, sample.sample_id)
        others = sorted([figure for figure in domain.others(of(domain), near, own) if figure is not None])
        if len(others) < self._spec.min_samples:
            return None
        tokens = domain.others(domain.tokens, near, own)
        shortness = math.sqrt(max(1.0, tokens[len(tokens) // 2] / max(1, sample.tokens)))
        scale = scale_of_ordered(others, floor=floor(median_of(others)), trim_z=self._spec.trim_z)
        return scale.z(value) / shortness

    def _is_ordinary(self, sample: SampleRecord, step: int, at_least: float) -> bool:
        """Whether more than half of the nearest losses are so close below this one, or above, that no z of `at_least`
        is possible: no spread is smaller than `sample_floor_nats`."""
        domain = self._domains.get(sample.domain)
        if domain is None or not math.isfinite(sample.loss):
            return False
        near = domain.nearest(sample.tokens, self._spec)
        close = sample.loss - at_least * self._spec.sample_floor_nats * ORDINARY
        own = len(domain.at.get((step, sample.sample_id), ()))
        half: float = (min(near.stop, len(domain)) - near.start) / 2
        if bisect_right(domain.ordered_losses, close) < half - own:
            return True  # so few of all are lower that it does not matter where they stand
        return sum(map(close.__lt__, domain.losses[near])) - own > half

    def _loss_floor(self, loss: float) -> float:
        return max(self._spec.sample_floor_share * abs(loss), self._spec.sample_floor_nats)
