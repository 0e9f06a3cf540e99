"""The rate before an incident: whether the learning rate rose on the way into it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from aft_contracts import DetectionSpec, StepRecord

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
