"""The rate before an incident: whether the learning rate left its plan on the way into it, and whether that is over."""

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
    """The highest rate since then over the planned one, as compared with the steps before."""


@dataclass(frozen=True, kw_only=True)
class RatePlan:
    """What the learning rate of each step was to be."""

    optim: OptimSpec
    schedule: Schedule

    def excess(self, step: StepRecord) -> float:
        """The rate that the step was made with over the planned one; 1 where nothing is wrong."""
        return step.lr / learning_rate(self.optim, self.schedule, step.step)


def find_rate_jump(
    steps: Sequence[StepRecord], first_bad_step: int, plan: RatePlan, spec: DetectionSpec
) -> RateJump | None:
    """The first jump of the learning rate within the last `cusum_lag` steps up to `first_bad_step`, as recorded.

    u_t = applied rate / planned rate. At a jump both u_t and the applied rate stand at `rate_jump_factor` times their
    medians over the `rate_jump_steps` steps before. (The rule is our own.) Warm-up, curve, restart and command are
    planned, and leave u where it was; a jump for which a repair has lowered the plan leaves the applied rate where it
    was. `steps` is oldest first, of one lineage. None where too few steps are known to say.
    """
    known = [step for step in steps if step.step <= first_bad_step]
    excess = [plan.excess(step) for step in known]
    for place in range(max(len(known) - spec.cusum_lag, spec.rate_jump_steps), len(known)):
        before = slice(place - spec.rate_jump_steps, place)
        usual, usual_rate = statistics.median(excess[before]), statistics.median(step.lr for step in known[before])
        has_left_plan = excess[place] >= spec.rate_jump_factor * usual > 0
        if has_left_plan and known[place].lr >= spec.rate_jump_factor * usual_rate:
            return RateJump(step=known[place].step, factor=max(excess[place:]) / usual)
    return None


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

    It is over when the last of `steps` (oldest first), at `jump_step` or later, keeps to the lowered plan as the steps
    before the repair kept to theirs. None too where somebody has set the rate since.
    """
    change = schedule.rates[-1] if schedule.rates else None
    if change is None or repair.lr_factor is None or change.step != repair.rollback_to_step:
        return None
    last = steps[-1]
    if last.step < max(jump_step, change.step + change.rewarmup_steps):
        return None
    plan = RatePlan(optim=optim, schedule=schedule)
    before = [plan.excess(step) for step in steps if step.step < change.step][-spec.rate_jump_steps :]
    usual = statistics.median(before) if before else 1.0
    return change.scale / repair.lr_factor if plan.excess(last) < spec.rate_jump_factor * usual else None
