"""Loss, gradient and every sample's part in both, from one backward pass."""

# B batch, T tokens

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from aft_worker.model.decoder import Decoder
from aft_worker.model.parameters import Parameters
from aft_worker.model.probed.probe import Probe
from aft_worker.train.weighting import weighting


class BatchGradients(NamedTuple):
    """What one backward pass gives."""

    loss: Float[Array, ""]
    """sum(weight * nll) / sum(weight), in nats per weighted token."""
    tokens: Int[Array, ""]
    """Tokens of the batch that carry loss."""
    gradient: Parameters
    """Gradient of `loss`."""
    sample_loss: Float[Array, " batch"]
    """Each sample's own weighted mean, in nats per token."""
    sample_grad_norm: Float[Array, " batch"]
    """L2 norm of the gradient of that mean."""
    sample_tokens: Int[Array, " batch"]
    """Tokens of each sample that carry loss."""


def batch_gradients(
    graphdef: nnx.GraphDef[Decoder],
    trainable: Parameters,
    frozen: Parameters,
    tokens: Int[Array, "batch tokens"],
    loss_weights: Float[Array, "batch tokens"],
    mesh: Mesh,
) -> BatchGradients:
    """Loss, gradient over `trainable` and per-sample figures of one batch, its rows split over the mesh's `data`."""

    def of_rows(trainable: Parameters, frozen: Parameters, tokens: Array, loss_weights: Array) -> tuple[Any, ...]:
        return tuple(_row_gradients(graphdef, trainable, frozen, tokens, loss_weights))

    rows, whole = PartitionSpec("data"), PartitionSpec()
    # Manual over `data`: each device runs the per-sample operations on its own rows, and the sums are written out.
    split = jax.shard_map(
        of_rows,
        mesh=mesh,
        in_specs=(whole, whole, rows, rows),
        out_specs=(whole, whole, whole, rows, rows, rows),
        axis_names={"data"},
        check_vma=False,
    )
    return BatchGradients(*split(trainable, frozen, tokens, loss_weights))


def _row_gradients(
    graphdef: nnx.GraphDef[Decoder], trainable: Parameters, frozen: Parameters, tokens: Array, loss_weights: Array
) -> BatchGradients:
    batch = weighting(tokens, loss_weights)
    batch_total = jax.lax.psum(batch.totals.sum(), "data")
    shares_B = batch.shares(batch_total)
    # A row whose weights overflow is NaN from here on, and only that row: the guard must see it, the others need not.
    own_weights_BT = batch.own_weights

    def sum_of_own_losses(trainable: Parameters, squared_norms: Array) -> tuple[Array, Array]:
        decoder = nnx.merge(graphdef, trainable, frozen)
        nll_BT = decoder.nll(tokens, batch.targets, batch.needed, Probe(squared_norms, shares_B))
        return (own_weights_BT * nll_BT).sum(), nll_BT

    differentiate = jax.value_and_grad(sum_of_own_losses, argnums=(0, 1), has_aux=True)
    (_, nll_BT), (gradient, squared_norms_B) = differentiate(trainable, jnp.zeros_like(shares_B))
    loss_sum = jax.lax.psum((batch.weights * nll_BT).sum(), "data")
    return BatchGradients(
        loss=loss_sum / jnp.where(batch_total == 0, 1.0, batch_total),
        tokens=jax.lax.psum(batch.token_counts.sum(), "data"),
        gradient=jax.lax.psum(gradient, "data"),
        sample_loss=batch.sample_losses(nll_BT),
        # The Gram forms may round a vanishing norm to a negative square; maximum() passes NaN on.
        sample_grad_norm=jnp.sqrt(jnp.maximum(squared_norms_B, 0.0)),
        sample_tokens=batch.token_counts,
    )
