"""How token weights make up a loss: who predicts whom, and each sample's share."""

# B lines of the batch, T tokens, P samples a line

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aft_worker.model.probed.probe import Probe


class Weighting(NamedTuple):
    """Loss weights by the position that predicts, which is the one before the token itself."""

    targets: Int[Array, "batch tokens"]
    """The token that each position predicts."""
    weights: Float[Array, "batch tokens"]
    """Its weight; 0 at a sample's last position, which predicts nothing."""
    totals: Float[Array, "batch packed"]
    """Sum of each sample's weights."""
    segments: Int[Array, "batch tokens"] | None
    """Which of its line's samples each token belongs to; None where each line is one sample."""

    @property
    def needed(self) -> Bool[Array, "batch tokens"]:
        """Positions that carry loss."""
        return self.weights != 0

    @property
    def token_counts(self) -> Int[Array, "batch packed"]:
        """How many tokens of each sample carry loss."""
        return self.sums(self.needed.astype(jnp.float32)).astype(jnp.int32)

    @property
    def is_sound(self) -> Bool[Array, "batch packed"]:
        """Whether the sum of a sample's weights is a number."""
        return jnp.isfinite(self.totals)

    @property
    def own_weights(self) -> Float[Array, "batch tokens"]:
        """Weights that make `sum(own_weights * nll)` a sample's own mean loss; 0 in a sample whose sum overflows."""
        totals_BT = self.totals if self.segments is None else jnp.take_along_axis(self.totals, self.segments, axis=1)
        return jnp.where(jnp.isfinite(totals_BT), self.weights / _or_one(totals_BT), 0.0)

    def shares(self, batch_total: Float[Array, ""]) -> Float[Array, "batch packed"]:
        """Each sample's share in a batch loss whose weights add up to `batch_total`."""
        return self.totals / _or_one(batch_total)

    def sample_means(self, values: Float[Array, "batch tokens"]) -> Float[Array, "batch packed"]:
        """Each sample's mean of `values` per weighted token; 0 for one without weight."""
        return self.sums(self.weights * values) / _or_one(self.totals)

    def sums(self, values: Float[Array, "batch tokens"]) -> Float[Array, "batch packed"]:
        """The sum of each sample's `values`."""
        return Probe(None, self.totals, self.segments).sum_by_sample(values)


def weighting(
    tokens: Int[Array, "batch tokens"],
    loss_weights: Float[Array, "batch tokens"],
    segments: Int[Array, "batch tokens"] | None = None,
    *,
    packed: int = 1,
) -> Weighting:
    """The weighting of a batch whose `loss_weights` are given by target; a sample's first token is never a target."""
    weights = jnp.roll(loss_weights, -1, axis=1).at[:, -1].set(0.0)
    if segments is not None:
        weights = jnp.where(jnp.roll(segments, -1, axis=1) == segments, weights, 0.0)
    blank_BP = jnp.zeros((tokens.shape[0], packed))
    totals = Probe(None, blank_BP, segments).sum_by_sample(weights)
    return Weighting(jnp.roll(tokens, -1, axis=1), weights, totals, segments)


def _or_one(total: Array) -> Array:
    return jnp.where(total == 0, 1.0, total)
