"""Loss, gradient and every sample's part in both, from one backward pass."""

# B lines of the batch, T tokens, P samples a line, S = B * P samples, A parts of the batch

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from aft_worker.model.decoder import Decoder
from aft_worker.model.dropout import TokenKeys, token_keys
from aft_worker.model.mesh import sum_over_data
from aft_worker.model.packing import positions_of
from aft_worker.model.parameters import Parameters
from aft_worker.model.probed.head import TokenScores
from aft_worker.model.probed.probe import Probe
from aft_worker.train.weighting import weighting


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Lines:
    """What a batch's gradient is computed from."""

    tokens: Int[Array, "batch tokens"]
    """Token ids, padded on the right."""
    loss_weights: Float[Array, "batch tokens"]
    """Weight of each token as a target; a sample's first token is never one."""
    segments: Int[Array, "batch tokens"] | None = None
    """Which of its line's samples each token belongs to, from 0; None where each line is one sample."""
    sample_keys: UInt32[Array, "batch packed"] | None = None
    """A random number for each sample, for dropout; None where nothing is dropped out."""


class BatchGradients(NamedTuple):
    """What one backward pass gives."""

    loss: Float[Array, ""]
    """sum(weight * nll) / sum(weight), in nats per weighted token."""
    tokens: Int[Array, ""]
    """Tokens of the batch that carry loss."""
    gradient: Parameters
    """Gradient of `loss`."""
    sample_loss: Float[Array, " samples"]
    """Each sample's own weighted mean, in nats per token; line by line, zero where a line has fewer samples."""
    sample_grad_norm: Float[Array, " samples"]
    """L2 norm of the gradient of that mean."""
    sample_accuracy: Float[Array, " samples"]
    """Weighted share of its tokens that were the model's first choice."""
    sample_tokens: Int[Array, " samples"]
    """Tokens of each sample that carry loss."""


def batch_gradients(
    graphdef: nnx.GraphDef[Decoder],
    trainable: Parameters,
    frozen: Parameters,
    lines: Lines,
    mesh: Mesh,
    *,
    packed: int = 1,
    parts: int = 1,
) -> BatchGradients:
    """Loss, gradient over `trainable` and per-sample figures of one batch, its lines split over the mesh's `data`.

    Each line holds at most `packed` samples. Every device computes its lines in `parts` that follow one another, which
    takes that much less memory for activations and changes the result by rounding alone.
    """

    def of_lines(trainable: Parameters, frozen: Parameters, lines: Lines) -> tuple[Any, ...]:
        return tuple(_line_gradients(graphdef, trainable, frozen, lines, mesh, packed, parts))

    rows, whole = PartitionSpec("data"), PartitionSpec()
    # Manual over `data`: each device runs the per-sample operations on its own lines, and the sums are written out.
    split = jax.shard_map(
        of_lines,
        mesh=mesh,
        in_specs=(whole, whole, rows),
        out_specs=(whole, whole, whole, rows, rows, rows, rows),
        axis_names={"data"},
        check_vma=False,
    )
    return BatchGradients(*split(trainable, frozen, lines))


class _Part(NamedTuple):
    """What one part of a device's lines adds to its batch; per-sample figures are [B, P]."""

    gradient: Parameters
    loss_sum: Array
    sample_loss: Array
    sample_grad_norm: Array
    sample_accuracy: Array
    sample_tokens: Array


def _line_gradients(
    graphdef: nnx.GraphDef[Decoder],
    trainable: Parameters,
    frozen: Parameters,
    lines: Lines,
    mesh: Mesh,
    packed: int,
    parts: int,
) -> BatchGradients:
    whole = weighting(lines.tokens, lines.loss_weights, lines.segments, packed=packed)
    batch_total = sum_over_data(whole.totals.sum(), mesh)

    def of_part(lines: Lines) -> _Part:
        return _part_gradients(graphdef, trainable, frozen, lines, packed, batch_total)

    done = of_part(lines) if parts == 1 else _in_parts(of_part, lines, parts)
    return BatchGradients(
        loss=sum_over_data(done.loss_sum, mesh) / jnp.where(batch_total == 0, 1.0, batch_total),
        tokens=sum_over_data(done.sample_tokens.sum(), mesh),
        gradient=sum_over_data(done.gradient, mesh),
        sample_loss=done.sample_loss.ravel(),
        sample_grad_norm=done.sample_grad_norm.ravel(),
        sample_accuracy=done.sample_accuracy.ravel(),
        sample_tokens=done.sample_tokens.ravel(),
    )


def _in_parts(of_part: Callable[[Lines], _Part], lines: Lines, parts: int) -> _Part:
    """`of_part` over one part of the lines after the other; gradients and loss are added up."""
    split: Lines = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), lines)
    first = jax.eval_shape(of_part, jax.tree.map(lambda leaf: leaf[0], split))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (first.gradient, first.loss_sum))

    def add_part(sums: Any, lines: Lines) -> tuple[Any, tuple[Array, ...]]:
        gradient, loss_sum, *figures = of_part(lines)
        return jax.tree.map(jnp.add, sums, (gradient, loss_sum)), tuple(figures)

    (gradient, loss_sum), figures = jax.lax.scan(add_part, zeros, split)
    return _Part(gradient, loss_sum, *figures)


def _part_gradients(
    graphdef: nnx.GraphDef[Decoder],
    trainable: Parameters,
    frozen: Parameters,
    lines: Lines,
    packed: int,
    batch_total: Float[Array, ""],
) -> _Part:
    batch = weighting(lines.tokens, lines.loss_weights, lines.segments, packed=packed)
    shares_BP, own_weights_BT, noise = batch.shares(batch_total), batch.own_weights, _noise(lines)

    def sum_of_own_losses(trainable: Parameters, squared_norms: Array) -> tuple[Array, TokenScores]:
        decoder = nnx.merge(graphdef, trainable, frozen)
        probe = Probe(squared_norms, shares_BP, lines.segments, noise)
        scores = decoder.scores(lines.tokens, batch.targets, batch.needed, segments=lines.segments, probe=probe)
        return (own_weights_BT * scores.nll).sum(), scores

    differentiate = jax.value_and_grad(sum_of_own_losses, argnums=(0, 1), has_aux=True)
    (_, scores), (gradient, squared_norms_BP) = differentiate(trainable, jnp.zeros_like(shares_BP))
    # The Gram forms may round a vanishing norm to a negative square; maximum() passes NaN on.
    norms_BP = jnp.sqrt(jnp.maximum(squared_norms_BP, 0.0))
    return _Part(
        gradient=gradient,
        loss_sum=(batch.weights * scores.nll).sum(),
        sample_loss=batch.sample_means(scores.nll),
        # A sample whose weights overflow took none into the backward pass, so that it spoils no other's figures.
        sample_grad_norm=jnp.where(batch.is_sound, norms_BP, jnp.nan),
        sample_accuracy=batch.sample_means(scores.hits),
        sample_tokens=batch.token_counts,
    )


def _noise(lines: Lines) -> TokenKeys | None:
    if lines.sample_keys is None:
        return None
    positions_BT = positions_of(lines.tokens.shape[1], lines.segments)
    return token_keys(lines.sample_keys, positions_BT, lines.segments)
