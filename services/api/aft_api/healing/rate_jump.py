"""The rate before an incident: whether the learning rate left its plan on the way into it, and whether that is over."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from aft_contracts import DetectionSpec, OptimSpec, Repair, Schedule, StepRecord, learning_rate


@dataclass(frozen=True, kw_only=True)
class RateJump:
    """A rise of the learning rate that nobody planned."""

    step: int
    """The first step with the higher rate."""
    factor: float
    """The higher rate over the planned one, as compared with the steps before."""
    is_recorded: bool
    """Whether the records show that rate; False where only the weights gave it away, by how far they moved."""


@dataclass(frozen=True, kw_only=True)
class RatePlan:
    """What the learning rate of each step was to be."""

    optim: OptimSpec
    schedule: Schedule

    def at(self, step: int) -> float:
        """The rate that the step was to be made with."""
        return learning_rate(self.optim, self.schedule, step)

    def excess(self, step: StepRecord) -> float:
        """The rate that the step was made with over the planned one; 1 where nothing is wrong."""
        return step.lr / self.at(step.step)

    def stride(self, step: StepRecord) -> float | None:
        """How far the step moved the weights for each unit of the planned rate; None where it did not, or none knows.

        Adam's direction has much the same length from step to step, whatever the gradient's, so a stride that grows
        is a rate that is higher than it says.
        """
        moved = step.update_norm
        return moved / self.at(step.step) if step.applied and moved and math.isfinite(moved) else None


def find_rate_jump(
    steps: Sequence[StepRecord], first_bad_step: int, plan: RatePlan, spec: DetectionSpec
) -> RateJump | None:
    """The first jump of the learning rate within the last `cusum_lag` steps up to `first_bad_step`.

    u_t = applied rate / planned rate. At a jump both u_t and the applied rate stand at `rate_jump_factor` times their
    medians over the `rate_jump_steps` steps before. (The rule is our own.) Warm-up, curve, restart and command are
    planned, and leave u where it was; a jump for which a repair has lowered the plan leaves the applied rate where it
    was. `steps` is oldest first, of one lineage. None where too few steps are known to say.

    The applied rate is the recorded one first. Where that kept to the plan, it is how far the weights moved
    (`StepRecord.update_norm`), with `stride_jump_factor`: between the rate that is logged and the update, something may
    be wrong. Such a jump is as large as its first step says, for the later ones are made from damaged weights.
    """
    known = [step for step in steps if step.step <= first_bad_step]
    recorded = [_Applied(step=step.step, rate=step.lr, excess=plan.excess(step)) for step in known]
    place = _first_jump(recorded, first_bad_step, spec.rate_jump_factor, spec)
    if place is not None:
        highest = max(one.excess for one in recorded[place:])
        return _jump(recorded, place, highest, spec, is_recorded=True)
    moved = [
        _Applied(step=step.step, rate=step.update_norm or 0.0, excess=stride)
        for step in known
        if (stride := plan.stride(step)) is not None
    ]
    place = _first_jump(moved, first_bad_step, spec.stride_jump_factor, spec)
    return None if place is None else _jump(moved, place, moved[place].excess, spec, is_recorded=False)


@dataclass(frozen=True, kw_only=True)
class _Applied:
    """What a step was made with, by its record or by how far it moved the weights."""

    step: int
    rate: float
    excess: float


def _first_jump(known: Sequence[_Applied], first_bad_step: int, factor: float, spec: DetectionSpec) -> int | None:
    """Place of the first one that stands that far above those before it."""
    for place in range(spec.rate_jump_steps, len(known)):
        one = known[place]
        if one.step <= first_bad_step - spec.cusum_lag:
            continue
        before = known[place - spec.rate_jump_steps : place]
        usual, usual_rate = (
            statistics.median(values) for values in zip(*((b.excess, b.rate) for b in before), strict=True)
        )
        if one.excess >= factor * usual > 0 and one.rate >= factor * usual_rate:
            return place
    return None


def _jump(known: Sequence[_Applied], place: int, height: float, spec: DetectionSpec, *, is_recorded: bool) -> RateJump:
    usual = statistics.median(one.excess for one in known[place - spec.rate_jump_steps : place])
    return RateJump(step=known[place].step, factor=height / usual, is_recorded=is_recorded)


def scale_given_back(
    schedule: Schedule,
    repair: Repair,
    steps: Sequence[StepRecord],
    optim: OptimSpec,
    spec: DetectionSpec,
    *,
    jump_step: int,
) -> float | None:
    """The rate's scale once the jump at `jump_step`, for which `repair` lowered it, is over; None while it is not.

    It is over when the last applied one of `steps` (oldest first), at `jump_step` or later, keeps to the lowered plan
    as the steps before the repair kept to theirs, by its record and by how far it moved the weights. None too where
    somebody has set the rate since.
    """
    change = schedule.rates[-1] if schedule.rates else None
    if change is None or repair.lr_factor is None or repair.rollback_to_step is None:
        return None
    if change.step != max(repair.rollback_to_step, repair.rate_from_step or 0):
        return None
    last = next((step for step in reversed(steps) if step.applied), None)
    if last is None or last.step < max(jump_step, change.step + change.rewarmup_steps):
        return None
    plan = RatePlan(optim=optim, schedule=schedule)
    before = [step for step in steps if step.step < change.step][-spec.rate_jump_steps :]
    strides = [stride for step in before if (stride := plan.stride(step)) is not None]
    stride = plan.stride(last)
    keeps_to_plan = plan.excess(last) < spec.rate_jump_factor * _median([plan.excess(step) for step in before], 1.0)
    moves_as_ever = stride is None or stride < spec.stride_jump_factor * _median(strides, math.inf)
    return change.scale / repair.lr_factor if keeps_to_plan and moves_as_ever else None


def _median(values: Sequence[float], otherwise: float) -> float:
    return statistics.median(values) if values else otherwise
