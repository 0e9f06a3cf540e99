"""Clean samples by domain: what a single row's loss and gradient norm are measured against."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aft_api.healing.robust import log_or_none, scale_of
from aft_contracts import DetectionSpec, SampleRecord, StepRecord

NEAREST_SHARE = 2
"""A row is compared with the half of its domain's rows whose length is nearest …

A smaller share would follow length more closely, but bad rows tend to be of one length: one in ten of a domain may be
four in ten of the nearest quarter, and then they are their own norm.
"""

NEAREST_MOST = 256
"""… but never with more than this many: beyond it the scale no longer changes."""

LOSS_FLOOR_SHARE, LOSS_FLOOR_NATS = 0.05, 0.1
"""Smallest spread of sample losses that is believed: a twentieth of the median and at least 0.1 nats.

A domain that is nearly memorised has almost no spread of its own, and one row that is not memorised yet is no fault.
"""

LOG_NORM_FLOOR = 0.25
"""Smallest spread of the log of sample gradient norms that is believed."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A clean sample's figures."""

    tokens: int
    loss: float
    log_norm: float | None
    place: tuple[int, str]


class SampleReference:
    """Measures a sample against the clean samples of its domain that are about as long.

    The loss of a row is a mean over its tokens: short answers vary more. So the reference is the rows nearest in
    length, and for a row shorter than those the spread grows by sqrt(their median tokens / its tokens).
    """

    def __init__(self, steps: Iterable[StepRecord], spec: DetectionSpec) -> None:
        self._min_samples = spec.min_samples
        self._known: dict[str, list[_Known]] = defaultdict(list)
        for step in steps:
            for sample in step.samples:
                if sample.tokens > 0 and math.isfinite(sample.loss):
                    self._known[sample.domain].append(_known(sample, step.step))
        for known in self._known.values():
            known.sort(key=_length)

    def loss_z(self, sample: SampleRecord, *, step: int) -> float | None:
        """Robust z of the sample's loss; None while fewer than `min_samples` others of its domain are known."""
        if not math.isfinite(sample.loss):
            return math.inf
        return self._z(sample, step, sample.loss, of=lambda known: known.loss, floor=_loss_floor)

    def grad_norm_z(self, sample: SampleRecord, *, step: int) -> float | None:
        """Robust z of the log of the sample's gradient norm; None as for the loss, and for a norm of zero."""
        if not math.isfinite(sample.grad_norm):
            return math.inf
        value = log_or_none(sample.grad_norm)
        if value is None:
            return None
        return self._z(sample, step, value, of=lambda known: known.log_norm, floor=lambda _: LOG_NORM_FLOOR)

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
        values = [figure for known in near if (figure := of(known)) is not None]
        if len(values) < self._min_samples:
            return None
        tokens = near[len(near) // 2].tokens
        shortness = math.sqrt(max(1.0, tokens / max(1, sample.tokens)))
        return scale_of(values, floor=floor(sorted(values)[len(values) // 2])).z(value) / shortness

    def _nearest(self, sample: SampleRecord, step: int) -> list[_Known]:
        """Clean samples of the domain nearest in length, without this one; in order of length."""
        known = self._known.get(sample.domain, [])
        wanted = min(NEAREST_MOST, max(self._min_samples, len(known) // NEAREST_SHARE)) + 1
        first = bisect_left(known, sample.tokens, key=_length)
        middle = (first + bisect_right(known, sample.tokens, key=_length)) // 2
        start = max(0, min(middle - wanted // 2, len(known) - wanted))
        return [one for one in known[start : start + wanted] if one.place != (step, sample.sample_id)]


def _length(known: _Known) -> int:
    return known.tokens


def _known(sample: SampleRecord, step: int) -> _Known:
    return _Known(
        tokens=sample.tokens, loss=sample.loss, log_norm=log_or_none(sample.grad_norm), place=(step, sample.sample_id)
    )


def _loss_floor(loss: float) -> float:
    return max(LOSS_FLOOR_SHARE * abs(loss), LOSS_FLOOR_NATS)
