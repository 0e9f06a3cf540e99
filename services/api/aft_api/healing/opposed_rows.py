"""Opposed rows: losses that rise all through a batch while gradients fall, as a damaged forward pass makes them."""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property

from aft_api.healing.non_finite import is_finite
from aft_api.healing.reference import SampleReference
from aft_api.healing.robust import median_of, ninth_decile, scale_of
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, SampleRecord, StepRecord, Withheld


def find_opposed(
    window: Iterable[StepRecord], clean: Sequence[StepRecord], reference: SampleReference, spec: DetectionSpec
) -> tuple[Anomaly, ...]:
    """An anomaly for each step of `window` whose rows lose more than they should and pull less.

    up = sum(a_i) / sqrt(n) and down = sum(b_i) / sqrt(n), with a_i the robust z of a row's loss and b_i that of its log
    gradient norm, both within its domain and length (`SampleReference`) and bounded to +-`opposed_row_z`: Stouffer's
    sums (1949).
    score = (up - down) / max(1, the spread of that over clean steps) is an anomaly from `opposed_z` on, where the
    losses alone make half of that, and down is -`opposed_fall_z` or less. Hard rows, noise and a high rate raise loss
    and gradient together. An activation that overwhelms all others raises the loss and leaves no path for a gradient:
    one wrong weight does that, and may stay within the scatter of a batch's mean. (The rule is our own.)

    Looked at are steps whose batch loss is among the highest tenth of the `clean` steps, oldest first, and whose
    gradient norm is not above their median, with `opposed_min_rows` measured rows or more; silent until there are
    `min_steps` clean steps before.
    """
    recent = clean[-spec.history_steps :]
    if len(recent) < spec.min_steps:
        return ()
    high = ninth_decile(sorted(step.loss for step in recent))
    usual = median_of(sorted(step.grad_norm for step in recent))
    armed_from = clean[spec.min_steps - 1].step + 1
    looked_at = (step for step in window if step.step >= armed_from and _is_odd(step, high=high, usual=usual))
    return tuple(anomaly for step in looked_at if (anomaly := _judged(step, recent, reference, spec)) is not None)


def _is_odd(step: StepRecord, *, high: float, usual: float) -> bool:
    is_whole = step.withheld is not Withheld.SKIPPED and is_finite(step)
    return is_whole and step.loss >= high and step.grad_norm <= usual


def _judged(
    step: StepRecord, recent: Sequence[StepRecord], reference: SampleReference, spec: DetectionSpec
) -> Anomaly | None:
    rows = _Rows(step, reference, spec)
    if not rows.are_enough or rows.up < spec.opposed_z / 2 or rows.down > -spec.opposed_fall_z:
        return None
    if rows.contrast < spec.opposed_z:
        return None
    usual = [one.contrast for before in recent if (one := _Rows(before, reference, spec)).are_enough]
    # How far rows agree by nature is the data's own.
    score = rows.contrast / scale_of(usual, floor=1.0, trim_z=spec.opposed_trim_z).spread if usual else rows.contrast
    if score < spec.opposed_z:
        return None
    return Anomaly(
        kind=AnomalyKind.OPPOSED_ROWS,
        step=step.step,
        value=step.loss,
        score=score,
        threshold=spec.opposed_z,
        applied=step.applied,
    )


class _Rows:
    """A step's rows that have something to be measured against, and what they say together."""

    def __init__(self, step: StepRecord, reference: SampleReference, spec: DetectionSpec) -> None:
        self._step, self._reference, self._spec = step.step, reference, spec
        scored = ((row, reference.loss_z(row, step=step.step)) for row in step.samples if row.tokens > 0)
        self._known = [(row, z) for row, z in scored if z is not None]

    @property
    def are_enough(self) -> bool:
        """Whether they say something about all of the batch."""
        return len(self._known) >= self._spec.opposed_min_rows

    @cached_property
    def up(self) -> float:
        """How far their losses have risen."""
        return self._together(z for _, z in self._known)

    @cached_property
    def down(self) -> float:
        """How far their gradients have risen, below zero where they have fallen."""
        return self._together(self._pull(row) for row, _ in self._known)

    @property
    def contrast(self) -> float:
        """How much further the losses have risen than the gradients."""
        return self.up - self.down

    def _pull(self, row: SampleRecord) -> float:
        if row.grad_norm == 0:
            return -math.inf
        return self._reference.grad_norm_z(row, step=self._step) or 0.0

    def _together(self, scores: Iterable[float]) -> float:
        """Stouffer's sum."""
        most = self._spec.opposed_row_z
        return sum(max(-most, min(most, z)) for z in scores) / math.sqrt(len(self._known))
