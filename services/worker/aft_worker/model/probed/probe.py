"""Probe: how each sample's gradient norm leaves the backward pass that makes the update.

The scalar that is differentiated is the sum over samples of their OWN mean losses, sum_b L_b. Operations on trained
parameters, given a probe, return as cotangents
    of the parameter:      sum_b share_b * grad L_b   (the gradient of the batch loss, sum_b share_b * L_b)
    of `squared_norms`:    ||grad L_b||^2             (for this parameter; JAX adds up those of all parameters)
so one backward pass gives the update and every sample's norm (Goodfellow, 2015; Li et al., 2022, "ghost norm").
Kept apart like this, a sample that overflows spoils the update, which is withheld, but no other sample's figures.
"""

# B batch, T tokens, I inputs, O outputs

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

GRAM_FACTOR = 0.35
"""Measured on two CPU cores: below this share of in*out, two T x T Gram matrices beat one gradient a sample."""


class Probe(NamedTuple):
    """What rides along to every trained parameter."""

    squared_norms: Float[Array, " batch"]
    """Zeros; its cotangent is each sample's squared gradient norm."""
    shares: Float[Array, " batch"]
    """Share of each sample in the batch loss; not differentiated."""


def gram_is_cheaper(tokens: int, d_in: int, d_out: int) -> bool:
    """Whether a dense layer's per-sample norms come cheaper from Gram matrices than from the gradients themselves."""
    return tokens * (d_in + d_out) < GRAM_FACTOR * d_in * d_out


def dense_gradient(
    x: Float[Array, "batch tokens d_in"],
    g: Float[Array, "batch tokens d_out"],
    shares: Float[Array, " batch"],
) -> tuple[Float[Array, "d_in d_out"], Float[Array, " batch"]]:
    """Of y = x W, with g the gradient at y: the weighted gradient of W, and each sample's squared norm of its own."""
    if gram_is_cheaper(x.shape[1], x.shape[2], g.shape[2]):
        gram_BTT = jnp.einsum("bti,bsi->bts", x, x) * jnp.einsum("bto,bso->bts", g, g)
        weighted = jnp.einsum("bti,bto->io", x * shares[:, None, None], g)
        return weighted, gram_BTT.sum((1, 2))

    def add_sample(
        total_IO: Float[Array, "d_in d_out"], sample: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, "d_in d_out"], Float[Array, ""]]:
        x_TI, g_TO, share = sample
        own_IO = x_TI.T @ g_TO
        return total_IO + share * own_IO, (own_IO**2).sum()

    zeros = jnp.zeros((x.shape[2], g.shape[2]), x.dtype)
    return jax.lax.scan(add_sample, zeros, (x, g, shares))


def low_rank_gradient(
    x: Float[Array, "batch tokens d_in"],
    g: Float[Array, "batch tokens d_out"],
    shares: Float[Array, " batch"],
) -> tuple[Float[Array, "d_in d_out"], Float[Array, " batch"]]:
    """The same for a matrix so narrow that one gradient a sample is small: their sum is the update's."""
    own_BIO = jnp.einsum("bti,bto->bio", x, g)
    return (own_BIO * shares[:, None, None]).sum(0), (own_BIO**2).sum((1, 2))
