"""Clean samples by domain: what a single row's loss and gradient norm are measured against."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple

from aft_api.healing.robust import log_or_none, median_of, scale_of_ordered
from aft_api.healing.robust_z import ORDINARY
from aft_contracts import DetectionSpec, SampleRecord, StepRecord


class _Known(NamedTuple):
    """A clean sample's figures; a thousand of them are made for each window."""

    tokens: int
    loss: float
    grad_norm: float
    place: tuple[int, str]


class _Domain:
    """A domain's clean samples in order of length, with their lengths and losses apart, which are searched often."""

    def __init__(self, known: list[_Known]) -> None:
        self.known = sorted(known, key=attrgetter("tokens"))
        self.tokens = [one.tokens for one in self.known]
        self.losses = [one.loss for one in self.known]
        self.places = Counter([one.place for one in known])

    def nearest(self, tokens: int, spec: DetectionSpec) -> slice:
        """Where those nearest in length stand, in order of length."""
        share = int(spec.nearest_share * len(self.known))
        wanted = min(spec.nearest_samples, max(spec.min_samples, share)) + 1
        middle = (bisect_left(self.tokens, tokens) + bisect_right(self.tokens, tokens)) // 2
        start = max(0, min(middle - wanted // 2, len(self.known) - wanted))
        return slice(start, start + wanted)


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
        return self._z(sample, step, sample.loss, of=lambda known: known.loss, floor=self._loss_floor)

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
            sample,
            step,
            value,
            of=lambda known: log_or_none(known.grad_norm),
            floor=lambda _: self._spec.sample_grad_norm_floor,
        )

    def _z(
        self,
        sample: SampleRecord,
        step: int,
        value: float,
        *,
        of: Callable[[_Known], float | None],
        floor: Callable[[float], float],
    ) -> float | None:
        near = self._nearest(sample, step)
        values = sorted([figure for known in near if (figure := of(known)) is not None])
        if len(values) < self._spec.min_samples:
            return None
        tokens = near[len(near) // 2].tokens
        shortness = math.sqrt(max(1.0, tokens / max(1, sample.tokens)))
        scale = scale_of_ordered(values, floor=floor(median_of(values)), trim_z=self._spec.trim_z)
        return scale.z(value) / shortness

    def _nearest(self, sample: SampleRecord, step: int) -> list[_Known]:
        """Clean samples of the domain nearest in length, without this one; in order of length."""
        domain = self._domains.get(sample.domain)
        if domain is None:
            return []
        near, place = domain.known[domain.nearest(sample.tokens, self._spec)], (step, sample.sample_id)
        return [one for one in near if one.place != place] if place in domain.places else near

    def _is_ordinary(self, sample: SampleRecord, step: int, at_least: float) -> bool:
        """Whether more than half of the nearest losses are so close below this one, or above, that no z of `at_least`
        is possible: no spread is smaller than `sample_floor_nats`."""
        domain = self._domains.get(sample.domain)
        if domain is None or not math.isfinite(sample.loss):
            return False
        losses = domain.losses[domain.nearest(sample.tokens, self._spec)]
        close = sample.loss - at_least * self._spec.sample_floor_nats * ORDINARY
        others = sum(map(close.__lt__, losses)) - domain.places[step, sample.sample_id]
        return 2 * others > len(losses)

    def _loss_floor(self, loss: float) -> float:
        return max(self._spec.sample_floor_share * abs(loss), self._spec.sample_floor_nats)
