"""The rate before an incident: whether the learning rate rose on the way into it, and whether that is over."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from aft_contracts import DetectionSpec, Repair, Schedule, StepRecord

NOTABLE = 2.0
"""A rise by less than this is none: curves climb and fall by themselves."""

REFERENCE_STEPS = 16
"""Clean steps that say what the rate was before."""


@dataclass(frozen=True, kw_only=True)
class RateJump:
    """A rise of the learning rate."""

    step: int
    """The first step with the higher rate."""
    factor: float
    """The highest rate since then over the rate before."""


def find_rate_jump(steps: Sequence[StepRecord], first_bad_step: int, spec: DetectionSpec) -> RateJump | None:
    """The first rise of the learning rate within the last `cusum_lag` steps up to `first_bad_step`, as recorded.

    `steps` is oldest first. Each step is compared with the median of the `REFERENCE_STEPS` before it. None where no
    rate is `NOTABLE` times that, or too few steps are known to say.
    """
    before = [step for step in steps if step.step <= first_bad_step]
    recent = before[-spec.cusum_lag :]
    known = before[: len(before) - len(recent)]
    for place, step in enumerate(recent):
        reference = [one.lr for one in (*known, *recent[:place])][-REFERENCE_STEPS:]
        if len(reference) < REFERENCE_STEPS:
            continue
        usual = statistics.median(reference)
        if usual > 0 and step.lr >= NOTABLE * usual:
            return RateJump(step=step.step, factor=max(one.lr for one in recent[place:]) / usual)
    return None


def scale_given_back(schedule: Schedule, repair: Repair, steps: Sequence[StepRecord]) -> float | None:
    """The rate's scale once the jump for which `repair` lowered it is over; None while it is not, or none can say.

    While the jump lasts, the lowered rate is what the rate was before it. When it is over, the rate that the steps
    (oldest first) record falls as far below, from one step to the next: no curve falls like that.
    """
    change = schedule.rates[-1] if schedule.rates else None
    if change is None or repair.lr_factor is None or change.step != repair.rollback_to_step:
        return None
    before = [step.lr for step in steps if step.step < change.step][-REFERENCE_STEPS:]
    last = steps[-1]
    if len(before) < REFERENCE_STEPS or last.step < change.step + change.rewarmup_steps:
        return None
    since = [step.lr for step in steps if step.step >= change.step]
    fell = any(NOTABLE * after <= ahead for ahead, after in pairwise(since))
    return change.scale / repair.lr_factor if fell and NOTABLE * last.lr <= statistics.median(before) else None
