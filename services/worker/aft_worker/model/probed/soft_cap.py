"""Soft caps on logits: `c tanh(z / c)` (Gemma Team, 2024)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def soft_cap(z: Float[Array, "*shape"], cap: float | None) -> Float[Array, "*shape"]:
    """`z` squeezed into ±`cap`; None leaves it."""
    return z if cap is None else cap * jnp.tanh(z / cap)


def through_cap(
    g: Float[Array, "*shape"], capped: Float[Array, "*#shape"], cap: float | None
) -> Float[Array, "*shape"]:
    """`g`, a gradient at `capped`, as one before the cap: times 1 - tanh^2."""
    return g if cap is None else g * (1.0 - (capped / cap) ** 2)
