"""Rates beside their plan: which steps had one, where the jump into an incident was, and whether it is over."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, OptimSpec, Repair, Schedule, StepRecord, learning_rate


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
        moved = step.update_rms
        return moved / self.at(step.step) if step.applied and moved and math.isfinite(moved) else None


def find_high_rates(
    window: Sequence[StepRecord], history: Sequence[StepRecord], plan: RatePlan, spec: DetectionSpec
) -> tuple[Anomaly, ...]:
    """The steps of `window` that were made with a far higher learning rate than planned.

    u_t = applied rate / planned rate. Both u_t and the applied rate stand at `rate_jump_factor` times their medians
    over the `rate_jump_steps` steps before. (The rule is our own.) Warm-up, curve, restart and command are planned, and
    leave u where it was; a jump for which a repair has lowered the plan leaves the applied rate where it was. A rate
    that stays high is called out until it is what the steps before it had.

    The applied rate is the recorded one first. Where that keeps to the plan, it is how far the weights moved
    (`StepRecord.update_rms`), with `stride_jump_factor`: between the rate that is logged and the update, something may
    be wrong. `history` is what was trained before on the same lineage; both are oldest first.
    """
    if not window:
        return ()
    known = (*history[-_ENOUGH * spec.rate_jump_steps :], *window)
    found: dict[int, Anomaly] = {}
    for view in _views(known, plan, spec):
        for place in view.high_places(from_step=window[0].step):
            one = view.steps[place]
            anomaly = Anomaly(
                kind=AnomalyKind.RATE_JUMP,
                step=one.step,
                value=one.rate,
                score=one.excess / view.usual(place),
                threshold=view.factor,
                applied=one.applied,
            )
            found.setdefault(one.step, anomaly)
    return tuple(found[step] for step in sorted(found))


def find_rate_jump(
    steps: Sequence[StepRecord],
    first_bad_step: int,
    plan: RatePlan,
    spec: DetectionSpec,
    *,
    until_step: int | None = None,
) -> RateJump | None:
    """The first jump of the learning rate within the last `cusum_lag` steps up to `first_bad_step`.

    It is the first of the steps with a high rate (`find_high_rates`). By its record a jump is as large as the highest
    rate up to `until_step`, or to `first_bad_step`; by how far the weights moved as its first step says, for later ones
    are made from damaged weights. `steps` is oldest first, of one lineage. None where too few steps are known to say.
    """
    last = first_bad_step if until_step is None else until_step
    for view in _views([step for step in steps if step.step <= last], plan, spec):
        for place in view.high_places(from_step=first_bad_step - spec.cusum_lag + 1):
            first = view.steps[place]
            if first.step > first_bad_step:
                break
            height = max(one.excess for one in view.steps[place:]) if view.is_recorded else first.excess
            return RateJump(step=first.step, factor=height / view.usual(place), is_recorded=view.is_recorded)
    return None


_ENOUGH = 4
"""So many times `rate_jump_steps` steps are looked at for as many that moved the weights."""


@dataclass(frozen=True, kw_only=True)
class _Applied:
    """What a step was made with, by its record or by how far it moved the weights."""

    step: int
    rate: float
    excess: float
    """In units of the planned rate."""
    applied: bool


@dataclass(frozen=True, kw_only=True)
class _View:
    """The applied rates of a lineage, oldest first, by the one sign or by the other."""

    steps: Sequence[_Applied]
    is_recorded: bool
    factor: float
    memory: int
    """Steps that say what is usual."""

    def high_places(self, *, from_step: int) -> Iterator[int]:
        """Places of the steps from `from_step` on that stand that far above the ones before them."""
        lowest = min((one.excess for one in self.steps), default=0.0)
        for place in range(self.memory, len(self.steps)):
            one = self.steps[place]
            if one.step < from_step or one.excess < self.factor * lowest:  # as nearly all are: no median is lower
                continue
            if one.excess < self.factor * self.usual(place) or self.usual(place) <= 0:
                continue
            if one.rate >= self.factor * statistics.median(before.rate for before in self._before(place)):
                yield place

    def usual(self, place: int) -> float:
        """The usual excess of the steps before a place."""
        return statistics.median(one.excess for one in self._before(place))

    def _before(self, place: int) -> Sequence[_Applied]:
        return self.steps[place - self.memory : place]


def _views(steps: Sequence[StepRecord], plan: RatePlan, spec: DetectionSpec) -> tuple[_View, _View]:
    """By the records, which are believed first, and by how far the weights moved."""
    recorded = [
        _Applied(step=step.step, rate=step.lr, excess=plan.excess(step), applied=step.applied) for step in steps
    ]
    moved = [
        _Applied(step=step.step, rate=step.update_rms or 0.0, excess=stride, applied=True)
        for step in steps
        if (stride := plan.stride(step)) is not None
    ]
    return (
        _View(steps=recorded, is_recorded=True, factor=spec.rate_jump_factor, memory=spec.rate_jump_steps),
        _View(steps=moved, is_recorded=False, factor=_stride_factor(plan.optim, spec), memory=spec.rate_jump_steps),
    )


def _stride_factor(optim: OptimSpec, spec: DetectionSpec) -> float:
    """`stride_jump_factor`, or how far one gradient lengthens a step that is no spike itself, where that is more.

    Adam moves by m / sqrt(v): m takes up (1 - beta1) of a gradient, and v, slower, next to nothing of it.
    """
    most = math.exp(min(700.0, spec.grad_norm_z * spec.grad_norm_floor))  # a z that turns the detector off overflows
    return max(spec.stride_jump_factor, optim.beta1 + (1 - optim.beta1) * most)


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
    if change.step != repair.rate_begins(repair.rollback_to_step):
        return None
    last = next((step for step in reversed(steps) if step.applied), None)
    if last is None or last.step < max(jump_step, change.step + change.rewarmup_steps):
        return None
    plan = RatePlan(optim=optim, schedule=schedule)
    before = [step for step in steps if step.step < change.step][-spec.rate_jump_steps :]
    strides = [stride for step in before if (stride := plan.stride(step)) is not None]
    stride = plan.stride(last)
    keeps_to_plan = plan.excess(last) < spec.rate_jump_factor * _median([plan.excess(step) for step in before], 1.0)
    moves_as_ever = stride is None or stride < _stride_factor(optim, spec) * _median(strides, math.inf)
    return change.scale / repair.lr_factor if keeps_to_plan and moves_as_ever else None


def _median(values: Sequence[float], otherwise: float) -> float:
    return statistics.median(values) if values else otherwise
