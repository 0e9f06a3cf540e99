"""How token weights make up a loss: who predicts whom, and each sample's share."""

# B batch, T tokens

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Weighting(NamedTuple):
    """Loss weights by the position that predicts, which is the one before the token itself."""

    targets: Int[Array, "batch tokens"]
    """The token that each position predicts."""
    weights: Float[Array, "batch tokens"]
    """Its weight; 0 at the last position, which predicts nothing."""
    totals: Float[Array, " batch"]
    """Sum of each sample's weights."""

    @property
    def needed(self) -> Bool[Array, "batch tokens"]:
        """Positions that carry loss."""
        return self.weights != 0

    @property
    def token_counts(self) -> Int[Array, " batch"]:
        """How many tokens of each sample carry loss."""
        return self.needed.sum(1, dtype=jnp.int32)

    @property
    def own_weights(self) -> Float[Array, "batch tokens"]:
        """Weights that make `sum(own_weights * nll)` the sample's own mean loss; NaN in a row whose sum overflows."""
        own_BT = self.weights / _or_one(self.totals)[:, None]
        return jnp.where(jnp.isfinite(self.totals)[:, None], own_BT, jnp.nan)

    def shares(self, batch_total: Float[Array, ""]) -> Float[Array, " batch"]:
        """Each sample's share in a batch loss whose weights add up to `batch_total`."""
        return self.totals / _or_one(batch_total)

    def sample_losses(self, nll: Float[Array, "batch tokens"]) -> Float[Array, " batch"]:
        """Each sample's mean loss in nats per weighted token; 0 for one without weight."""
        return (self.weights * nll).sum(1) / _or_one(self.totals)


def weighting(tokens: Int[Array, "batch tokens"], loss_weights: Float[Array, "batch tokens"]) -> Weighting:
    """The weighting of a batch whose `loss_weights` are given by target; column 0 is never a target."""
    weights = jnp.roll(loss_weights, -1, axis=1).at[:, -1].set(0.0)
    return Weighting(jnp.roll(tokens, -1, axis=1), weights, weights.sum(1))


def _or_one(total: Array) -> Array:
    return jnp.where(total == 0, 1.0, total)
