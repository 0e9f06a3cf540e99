"""Dropout whose noise belongs to the token: the same wherever in a batch, and on which device, the token stands."""

# B lines of the batch, T tokens

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

TokenKeys = UInt32[Array, "batch tokens 2"]
"""A random key for each token."""


def token_keys(
    sample_keys: UInt32[Array, "batch packed"],
    positions: Int[Array, "#batch tokens"],
    segments: Int[Array, "batch tokens"] | None,
) -> TokenKeys:
    """A key for each token, from its sample's key and its place in the sample."""
    places_BT = jnp.broadcast_to(positions, (sample_keys.shape[0], positions.shape[1]))
    own_BT = (
        jnp.broadcast_to(sample_keys, places_BT.shape)
        if segments is None
        else jnp.take_along_axis(sample_keys, segments, axis=1)
    )
    return _each(lambda sample_key, place: _folded(jax.random.key(sample_key), place))(own_BT, places_BT)


def in_layer(keys: TokenKeys, layer: Int[Array, ""]) -> TokenKeys:
    """The keys as one layer uses them."""
    return _each(lambda key: _folded(jax.random.wrap_key_data(key), layer))(keys)


def drop_out(
    x: Float[Array, "batch tokens d"], keys: TokenKeys, use: int, rate: float
) -> Float[Array, "batch tokens d"]:
    """`x` with a share `rate` of its elements zero and the rest scaled by 1 / (1 - rate); `use` tells two layers apart.

    Srivastava et al., 2014.
    """

    def kept(key: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(jax.random.wrap_key_data(key), use), 1 - rate, x.shape[-1:])

    return jnp.where(_each(kept)(keys), x / (1 - rate), 0).astype(x.dtype)


def _folded(key: Array, number: Array) -> Array:
    return jax.random.key_data(jax.random.fold_in(key, number))


def _each(of_token: Callable[..., Array]) -> Callable[..., Array]:
    return jax.vmap(jax.vmap(of_token))
