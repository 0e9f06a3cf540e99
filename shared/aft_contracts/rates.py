"""The plan of a run's rates: the learning rate and clip norm of every step, as pure functions of spec, schedule, step.

The worker trains by it, and the supervisor knows by it which change of a recorded rate was meant.
"""

import math

from .run_spec import OptimSpec, RateCurve
from .schedule import Schedule

FINAL_SHARE = 0.1
"""Share of the peak at which the linear and the cosine curve end."""


def learning_rate(optim: OptimSpec, schedule: Schedule, step: int) -> float:
    """The rate of the optimizer step with index `step`: the spec's curve times the schedule's scale and re-warm-up."""
    change = schedule.rate_change_at(step)
    base = _base_rate(optim, step)
    if change is None:
        return base
    return base * change.scale * _climb(step - change.step, change.rewarmup_steps)


def clip_norm(optim: OptimSpec, schedule: Schedule, step: int) -> float:
    """The largest global gradient norm that `step` lets through unscaled."""
    changed = schedule.clip_at(step)
    return optim.clip_norm if changed is None else changed


def _base_rate(optim: OptimSpec, step: int) -> float:
    # The first step already learns: warm-up of n steps goes 1/n, 2/n, …, 1.
    if step < optim.warmup_steps:
        return optim.learning_rate * _climb(step, optim.warmup_steps)
    decay_steps = max(1, optim.steps - optim.warmup_steps)
    done = min(1.0, (step - optim.warmup_steps) / decay_steps)
    return optim.learning_rate * (FINAL_SHARE + (1 - FINAL_SHARE) * _share_left(optim.curve, done))


def _share_left(curve: RateCurve, done: float) -> float:
    """How much of the way from the peak to its end is still to go, once a share of the steps is done."""
    match curve:
        case RateCurve.CONSTANT:
            return 1.0
        case RateCurve.LINEAR:
            return 1.0 - done
        case RateCurve.COSINE:
            return 0.5 * (1.0 + math.cos(math.pi * done))


def _climb(steps_since: int, warmup_steps: int) -> float:
    return min(1.0, (steps_since + 1) / warmup_steps) if warmup_steps else 1.0
