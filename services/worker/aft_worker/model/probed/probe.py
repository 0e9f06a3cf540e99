"""Probe: how each sample's gradient norm leaves the backward pass that makes the update.

The scalar that is differentiated is the sum over samples of their OWN mean losses, sum_s L_s. Operations on trained
parameters, given a probe, return as cotangents
    of the parameter:      sum_s share_s * grad L_s   (the gradient of the batch loss, sum_s share_s * L_s)
    of `squared_norms`:    ||grad L_s||^2             (for this parameter; JAX adds up those of all parameters)
so one backward pass gives the update and every sample's norm (Goodfellow, 2015; Li et al., 2022, "ghost norm").
Kept apart like this, a sample that overflows spoils the update, which is withheld, but no other sample's figures.
"""

# B lines of the batch, T tokens, P samples a line, I inputs, O outputs

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

GRAM_FACTOR = 0.35
"""Measured on two CPU cores: below this share of in*out, two T x T Gram matrices beat one gradient a sample."""


class Probe(NamedTuple):
    """What rides along to every trained parameter."""

    squared_norms: Float[Array, "batch packed"] | None
    """Zeros; its cotangent is each sample's squared gradient norm. None: nothing is measured, autodiff does it all."""
    shares: Float[Array, "batch packed"] | None
    """Share of each sample in the batch loss; not differentiated."""
    segments: Int[Array, "batch tokens"] | None = None
    """Which of its line's samples each token belongs to; None where each line is one sample."""
    noise: UInt32[Array, "batch tokens 2"] | None = None
    """A random key for each token; None where nothing is dropped out."""

    @property
    def packed(self) -> int:
        """Most samples on a line."""
        assert self.shares is not None
        return self.shares.shape[1]

    def cotangent(self, squared_norms: Float[Array, "batch packed"]) -> "Probe":
        """What a backward pass returns for this probe."""
        assert self.shares is not None
        return Probe(squared_norms, jnp.zeros_like(self.shares))

    def is_of_sample(self) -> Float[Array, "batch tokens packed"]:
        """1 where a token belongs to a sample, else 0; only for packed lines."""
        assert self.segments is not None
        return jax.nn.one_hot(self.segments, self.packed)

    def weigh(self, x: Float[Array, "batch tokens d"]) -> Float[Array, "batch tokens d"]:
        """`x`, every token times its sample's share."""
        assert self.shares is not None
        if self.segments is None:
            return x * self.shares[:, :, None]
        return x * jnp.take_along_axis(self.shares, self.segments, axis=1)[:, :, None]

    def sum_by_sample(self, values: Float[Array, "batch tokens"]) -> Float[Array, "batch packed"]:
        """The values of each sample's tokens, added up."""
        if self.segments is None:
            return values.sum(1, keepdims=True)
        # Chosen, not multiplied by 0 or 1: a sample that is not finite must not reach its neighbours.
        return jnp.where(self.is_of_sample() > 0, values[:, :, None], 0.0).sum(1)

    def within_samples(self, pairs: Float[Array, "batch tokens tokens"]) -> Float[Array, "batch tokens tokens"]:
        """`pairs` of tokens, zero where the two belong to different samples."""
        if self.segments is None:
            return pairs
        return jnp.where(self.segments[:, :, None] == self.segments[:, None, :], pairs, 0.0)


def gram_is_cheaper(tokens: int, d_in: int, d_out: int, packed: int = 1) -> bool:
    """Whether a dense layer's per-sample norms come cheaper from Gram matrices than from the gradients themselves."""
    return tokens * (d_in + d_out) < GRAM_FACTOR * packed * d_in * d_out


def dense_gradient(
    x: Float[Array, "batch tokens d_in"], g: Float[Array, "batch tokens d_out"], probe: Probe
) -> tuple[Float[Array, "d_in d_out"], Float[Array, "batch packed"]]:
    """Of y = x W, with g the gradient at y: the weighted gradient of W, and each sample's squared norm of its own."""
    if gram_is_cheaper(x.shape[1], x.shape[2], g.shape[2], probe.packed):
        gram_BTT = product("bti,bsi->bts", x, x) * product("bto,bso->bts", g, g)
        # The narrower side is the one to copy: a head's gradient is as wide as the vocabulary.
        left, right = (probe.weigh(x), g) if x.shape[2] <= g.shape[2] else (x, probe.weigh(g))
        weighted_IO = product("bti,bto->io", left, right)
        return weighted_IO, probe.sum_by_sample(probe.within_samples(gram_BTT).sum(2))
    return _sample_by_sample(x, g, probe)


def _sample_by_sample(x: Array, g: Array, probe: Probe) -> tuple[Array, Array]:
    """The same from one gradient after the other, of which only the sum is kept."""
    assert probe.shares is not None

    def add_sample(total_IO: Array, sample: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x_TI, g_TO, share = sample
        own_IO = product("ti,to->io", x_TI, g_TO)
        return total_IO + share * own_IO, (own_IO**2).sum()

    def add_line(total_IO: Array, line: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        x_TI, g_TO, share_P, is_own_TP = line

        def add_segment(total_IO: Array, segment: tuple[Array, Array]) -> tuple[Array, Array]:
            share, is_own_T = segment
            return add_sample(total_IO, (x_TI, jnp.where(is_own_T[:, None] > 0, g_TO, 0), share))

        return jax.lax.scan(add_segment, total_IO, (share_P, is_own_TP.T))

    zeros_IO = jnp.zeros((x.shape[2], g.shape[2]), jnp.float32)
    if probe.segments is None:
        total_IO, squared_B = jax.lax.scan(add_sample, zeros_IO, (x, g, probe.shares[:, 0]))
        return total_IO, squared_B[:, None]
    return jax.lax.scan(add_line, zeros_IO, (x, g, probe.shares, probe.is_of_sample()))


def low_rank_gradient(
    x: Float[Array, "batch tokens d_in"], g: Float[Array, "batch tokens d_out"], probe: Probe
) -> tuple[Float[Array, "d_in d_out"], Float[Array, "batch packed"]]:
    """The same for a matrix so narrow that one gradient a sample is small: their sum is the update's."""
    # With the narrow side first the product takes a third of the time on two CPU cores.
    if g.shape[2] < x.shape[2]:
        weighted_OI, squared_norms = _narrow_gradient(g, x, probe)
        return weighted_OI.T, squared_norms
    return _narrow_gradient(x, g, probe)


def _narrow_gradient(
    narrow: Float[Array, "batch tokens n"], wide: Float[Array, "batch tokens w"], probe: Probe
) -> tuple[Float[Array, "n w"], Float[Array, "batch packed"]]:
    assert probe.shares is not None
    if probe.segments is None:
        own_BNW = product("btn,btw->bnw", narrow, wide)
        return (own_BNW * probe.shares[:, :, None]).sum(0), (own_BNW**2).sum((1, 2))[:, None]
    spread_BPTN = _spread(narrow, jnp.moveaxis(probe.is_of_sample(), 2, 1))
    own_BPNW = product("bptn,btw->bpnw", spread_BPTN, wide)
    return jnp.einsum("bp,bpnw->nw", probe.shares, own_BPNW), (own_BPNW**2).sum((2, 3))


def vector_gradient(
    contributions: Float[Array, "batch tokens *inner d"], probe: Probe
) -> tuple[Float[Array, " d"], Float[Array, "batch packed"]]:
    """Of a scale or bias, with each token's contribution to its gradient: the weighted gradient and squared norms."""
    assert probe.shares is not None
    by_token_BTD = contributions.astype(jnp.float32).sum(tuple(range(2, contributions.ndim - 1)))
    if probe.segments is None:
        own_BPD = by_token_BTD.sum(1, keepdims=True)
    else:
        own_BPD = _spread(by_token_BTD, jnp.moveaxis(probe.is_of_sample(), 2, 1)).sum(2)
    return jnp.einsum("bp,bpd->d", probe.shares, own_BPD), (own_BPD**2).sum(2)


def product(equation: str, left: Array, right: Array) -> Float[Array, "..."]:
    """An einsum whose sums are kept in float32, whatever type its operands have."""
    return jnp.einsum(equation, left, right, preferred_element_type=jnp.float32)


def _spread(x: Float[Array, "batch tokens d"], is_own: Float[Array, "batch packed tokens"]) -> Array:
    """`x` once for each sample of a line, zero at the tokens of the others."""
    return jnp.where(is_own[..., None] > 0, x[:, None], 0)
