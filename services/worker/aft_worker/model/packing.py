"""Positions of packed samples: each counts from its own first token."""

# B lines of the batch, T tokens

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


def positions_of(tokens: int, segments: Int[Array, "batch tokens"] | None) -> Int[Array, "#batch tokens"]:
    """Each token's place in its sample, from 0; without `segments` a line is one sample."""
    place_1T = jnp.arange(tokens)[None]
    if segments is None:
        return place_1T
    begins_BT = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    return place_1T - jax.lax.cummax(jnp.where(begins_BT, place_1T, 0), axis=1)
