"""Learning rate and clip norm of every step, as pure functions of spec, schedule and step."""

import numpy as np
import optax

from aft_contracts import OptimSpec, RateCurve, Schedule

FINAL_SHARE = 0.1
"""Share of the peak at which the linear and the cosine curve end."""


def learning_rate(optim: OptimSpec, schedule: Schedule, step: int) -> float:
    """The rate of the optimizer step with index `step`: the spec's curve times the schedule's scale and re-warm-up."""
    change = schedule.rate_change_at(step)
    base = float(np.asarray(_base_curve(optim)(step)))
    if change is None:
        return base
    return base * change.scale * _climb(step - change.step, change.rewarmup_steps)


def clip_norm(optim: OptimSpec, schedule: Schedule, step: int) -> float:
    """The largest global gradient norm that `step` lets through unscaled."""
    changed = schedule.clip_at(step)
    return optim.clip_norm if changed is None else changed


def _base_curve(optim: OptimSpec) -> optax.Schedule:
    peak, warmup = optim.learning_rate, optim.warmup_steps
    after = _curve_after_warmup(optim, max(1, optim.steps - warmup))
    # The first step already learns: warm-up of n steps goes 1/n, 2/n, …, 1.
    climb = optax.linear_schedule(peak / max(1, warmup), peak, max(1, warmup - 1))
    return optax.join_schedules([climb, after], [warmup]) if warmup else after


def _curve_after_warmup(optim: OptimSpec, decay_steps: int) -> optax.Schedule:
    peak = optim.learning_rate
    match optim.curve:
        case RateCurve.CONSTANT:
            return optax.constant_schedule(peak)
        case RateCurve.LINEAR:
            return optax.linear_schedule(peak, FINAL_SHARE * peak, decay_steps)
        case RateCurve.COSINE:
            return optax.cosine_decay_schedule(peak, decay_steps, alpha=FINAL_SHARE)


def _climb(steps_since: int, rewarmup_steps: int) -> float:
    return min(1.0, (steps_since + 1) / rewarmup_steps) if rewarmup_steps else 1.0
