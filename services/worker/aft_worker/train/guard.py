"""The guard inside the jitted step: which updates must not reach the weights.

z = (x - median) / spread of the loss and of the log gradient norm, one-sided, over the last `history_steps` clean
readings (Iglewicz & Hoaglin, 1993); the spread is that of the supervisor's detectors:
max(1.4826 * MAD, (ninth decile - median) / 1.2816) * (1 + 5/n), never below a floor. What this lets through is no spike
to them either.

Its memory holds clean readings only. An outlier is judged by it and never enters it, so that a second outlier does not
pass for normal because of the first. Where another rate, clip or mix begins, it begins anew (`rearmed`).
"""

# H history length

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aft_contracts import DetectionSpec, Withheld

MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""
UPPER_DECILE_TO_SD = 1 / 1.2816
"""The same in units of the distance from its median to its ninth decile, which sees a heavy upper tail."""
SMALL_SAMPLE_READINGS = 5.0
"""A spread estimated from n readings is widened by 1 + this / n: the MAD of few readings is often far too small."""
SMALLEST_NORM = 1e-20

CODES: tuple[Withheld | None, ...] = (
    None,
    Withheld.NON_FINITE,
    Withheld.LOSS,
    Withheld.GRAD_NORM,
    Withheld.SKIPPED,
)
"""What the integer code of a verdict stands for; 0 is applied."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class GuardState:
    """Clean readings, in rings, and how many updates in a row were refused."""

    losses: Float[Array, " history"]
    log_grad_norms: Float[Array, " history"]
    count: Int[Array, ""]
    """Readings in the rings."""
    cursor: Int[Array, ""]
    """Where the next reading goes."""
    rejections: Int[Array, ""]
    """Finite updates withheld since the last one that was applied."""


def empty_guard(detection: DetectionSpec) -> GuardState:
    """A guard that has seen nothing."""
    zero, ring = jnp.int32(0), jnp.zeros(detection.history_steps, jnp.float32)
    return GuardState(losses=ring, log_grad_norms=ring, count=zero, cursor=zero, rejections=zero)


def emptied(guard: GuardState) -> GuardState:
    """A guard like `guard` that has seen nothing, placed as it is."""
    empty: GuardState = jax.tree.map(jnp.zeros_like, guard)
    return empty


def rearmed(guard: GuardState, rearm: Bool[Array, ""] | bool) -> GuardState:
    """A guard that has seen nothing, where `rearm` says so; else the one given."""
    return _select(jnp.asarray(rearm), emptied(guard), guard)


def judge(
    guard: GuardState,
    loss: Float[Array, ""],
    grad_norm: Float[Array, ""],
    skip: Bool[Array, ""],
    detection: DetectionSpec,
) -> tuple[GuardState, Int[Array, ""]]:
    """The guard after this reading, and the code of the verdict on it (see `CODES`).

    A skipped or non-finite step leaves the guard as it is. After `max_rejections` finite outliers in a row the next one
    is accepted: the level has shifted, and the history begins again with it.
    """
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    log_norm = jnp.log(jnp.maximum(grad_norm, SMALLEST_NORM))
    armed = guard.count >= detection.min_steps
    loss_is_out = armed & (loss_z(guard, loss, detection) >= detection.loss_z)
    norm_is_out = armed & (log_norm_z(guard, log_norm, detection) >= detection.grad_norm_z)
    is_out = loss_is_out | norm_is_out
    gives_in = is_out & (guard.rejections >= detection.max_rejections)

    code = jnp.select([skip, ~finite, gives_in, loss_is_out, norm_is_out], [4, 1, 0, 2, 3], 0).astype(jnp.int32)
    learned = _with_reading(_select(gives_in, emptied(guard), guard), loss, log_norm)
    counted = _with_rejection(guard)
    after = _select(code == 0, learned, _select((code == 2) | (code == 3), counted, guard))
    return after, code


def loss_z(guard: GuardState, loss: Float[Array, ""], detection: DetectionSpec) -> Float[Array, ""]:
    """How many robust standard deviations `loss` lies above the clean median."""

    def floor(median: Array) -> Array:
        return jnp.maximum(detection.loss_floor_nats, detection.loss_floor_share * jnp.abs(median))

    return _z(guard.losses, guard.count, loss, floor, detection)


def log_norm_z(guard: GuardState, log_norm: Float[Array, ""], detection: DetectionSpec) -> Float[Array, ""]:
    """How many robust standard deviations the log of a gradient norm lies above the clean median."""
    return _z(guard.log_grad_norms, guard.count, log_norm, lambda _: jnp.float32(detection.grad_norm_floor), detection)


def _z(
    ring: Float[Array, " history"],
    count: Int[Array, ""],
    value: Float[Array, ""],
    floor_at: Callable[[Array], Array],
    detection: DetectionSpec,
) -> Float[Array, ""]:
    is_filled = jnp.arange(ring.shape[0]) < count
    ordered_H = jnp.sort(jnp.where(is_filled, ring, jnp.inf))
    median = _middle(ordered_H, count)
    floor = floor_at(median)
    away_H = jnp.sort(jnp.where(is_filled, jnp.abs(ring - median), jnp.inf))
    deviation = MAD_TO_SD * _middle(away_H, count)
    kept = (ordered_H <= median + detection.trim_z * jnp.maximum(deviation, floor)).sum()
    tail = UPPER_DECILE_TO_SD * (ordered_H[9 * kept // 10] - median)
    widening = 1.0 + SMALL_SAMPLE_READINGS / jnp.maximum(count, 1)
    return (value - median) / jnp.maximum(jnp.maximum(deviation, tail) * widening, floor)


def _middle(ordered_H: Array, count: Array) -> Array:
    """The median of the first `count` values, which stand in order of size."""
    last = jnp.maximum(count, 1) - 1
    return 0.5 * (ordered_H[last // 2] + ordered_H[(last + 1) // 2])


def _with_reading(guard: GuardState, loss: Array, log_norm: Array) -> GuardState:
    history = guard.losses.shape[0]
    return GuardState(
        losses=guard.losses.at[guard.cursor].set(loss),
        log_grad_norms=guard.log_grad_norms.at[guard.cursor].set(log_norm),
        count=jnp.minimum(guard.count + 1, history),
        cursor=(guard.cursor + 1) % history,
        rejections=jnp.zeros_like(guard.rejections),
    )


def _with_rejection(guard: GuardState) -> GuardState:
    return GuardState(
        losses=guard.losses,
        log_grad_norms=guard.log_grad_norms,
        count=guard.count,
        cursor=guard.cursor,
        rejections=guard.rejections + 1,
    )


def _select(condition: Array, chosen: GuardState, other: GuardState) -> GuardState:
    selected: GuardState = jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)
    return selected
