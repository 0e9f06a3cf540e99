"""Decoder: a transformer, its layers stacked and run by one scan."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from aft_contracts import ComputeType, Remat
from aft_worker.model.attention import Attention
from aft_worker.model.config import Block, DecoderConfig
from aft_worker.model.dropout import in_layer
from aft_worker.model.gemma import SandwichLayer
from aft_worker.model.gpt2 import Gpt2Layer
from aft_worker.model.layers import KEPT, RMSNorm, TokenTable, measures
from aft_worker.model.mlp import GatedMlp
from aft_worker.model.norms import make_norm
from aft_worker.model.packing import positions_of
from aft_worker.model.parameters import Parameters
from aft_worker.model.probed.embedding import Tie
from aft_worker.model.probed.head import TokenScores, frozen_head_scores, trained_head_scores
from aft_worker.model.probed.probe import Probe, product
from aft_worker.model.probed.soft_cap import soft_cap
from aft_worker.model.views import View, layer_views

RunLayer = Callable[[Array, tuple[Parameters, Array]], tuple[Array, None]]
"""One layer of a scan: what comes in and the layer's weights and index, to what goes out."""


class Decoder(nnx.Module):
    """Token ids in; next-token logits, or the loss of given targets, out."""

    def __init__(
        self,
        config: DecoderConfig,
        *,
        trained: bool,
        compute: ComputeType = ComputeType.FLOAT32,
        remat: Remat = Remat.SELECTIVE,
    ) -> None:
        self.config, self.compute, self.remat = config, compute, remat
        self.embed_tokens = TokenTable(config.vocab_size, config.hidden_size, trained=trained)
        self.embed_positions = (
            TokenTable(config.positions, config.hidden_size, trained=trained) if config.positions else None
        )
        self.layers = LAYERS[config.block]((config.layers,), config, trained=trained)
        self.norm = make_norm((), config.hidden_size, config, trained=trained)
        self.lm_head = None if config.tied_head else TokenTable(config.vocab_size, config.hidden_size, trained=trained)

    def logits(
        self, tokens: Int[Array, "batch tokens"], segments: Int[Array, "batch tokens"] | None = None
    ) -> Float[Array, "batch tokens vocab"]:
        """Next-token logits at every position, by plain operations."""
        hidden, _ = self._hidden(tokens, segments, None)
        logits = product("btd,vd->btv", hidden, self._head.rows[...].astype(hidden.dtype))
        return soft_cap(logits, self.config.logit_cap)

    def scores(
        self,
        tokens: Int[Array, "batch tokens"],
        targets: Int[Array, "batch tokens"],
        needed: Bool[Array, "batch tokens"],
        *,
        segments: Int[Array, "batch tokens"] | None = None,
        probe: Probe | None = None,
    ) -> TokenScores:
        """What the head says of `targets` where `needed`, else zeros.

        With a probe its gradients are those that `probe` describes; without one, frozen or not, the head is treated as
        frozen, so that nothing but the value and the gradients of what lies before the head may be taken from it.
        """
        hidden, tie = self._hidden(tokens, segments, probe)
        table = self._head.rows[...]
        if measures(probe) and self._head.trained:
            tie = tie if self.lm_head is None else None
            return trained_head_scores(hidden, table, tie, tokens, targets, needed, probe, self.config.logit_cap)
        flat = frozen_head_scores(
            hidden.reshape(-1, hidden.shape[-1]),
            table.astype(hidden.dtype),
            targets.ravel(),
            needed.ravel(),
            self.config.logit_cap,
        )
        return TokenScores(*(values.reshape(tokens.shape) for values in flat))

    @property
    def _head(self) -> TokenTable:
        return self.embed_tokens if self.lm_head is None else self.lm_head

    def _hidden(
        self,
        tokens: Int[Array, "batch tokens"],
        segments: Int[Array, "batch tokens"] | None,
        probe: Probe | None,
    ) -> tuple[Float[Array, "batch tokens hidden"], Tie | None]:
        positions = positions_of(tokens.shape[1], segments)
        views = layer_views(self.config, positions, segments)
        structure, weights = nnx.split(self.layers)

        def run_layer(x: Array, layer: tuple[Parameters, Array]) -> tuple[Array, None]:
            layer_weights, index = layer
            return nnx.merge(structure, layer_weights)(x, views.of_layer(index), _in_layer(probe, index)), None

        x, tie = self._embedded(tokens, positions, probe)
        # One compiled layer run many times: unrolled, SmolLM2 compiles four times as long and is no faster.
        layers = (weights, jnp.arange(self.config.layers))
        x, _ = jax.lax.scan(rematerialised(run_layer, self.remat), x, layers)
        return self.norm(x, probe), tie

    def _embedded(
        self, tokens: Int[Array, "batch tokens"], positions: Int[Array, "#batch tokens"], probe: Probe | None
    ) -> tuple[Float[Array, "batch tokens hidden"], Tie | None]:
        """The tokens' rows, scaled, with those of their positions added where they are learned."""
        rows, tie = self.embed_tokens.look_up(tokens, probe)
        x = rows.astype(self.compute.value)
        if self.config.embedding_scale != 1.0:
            # Rounded to the type of x, as transformers does.
            x = x * jnp.asarray(self.config.embedding_scale, x.dtype)
        if self.embed_positions is not None:
            # JAX clamps an index that is out of range: every later token would silently get the last position.
            self.config.refuse_longer_than_positions(tokens.shape[1])
            places, _ = self.embed_positions.look_up(jnp.broadcast_to(positions, tokens.shape), probe)
            x = x + places.astype(x.dtype)
        return x, tie


def rematerialised(run_layer: RunLayer, remat: Remat) -> RunLayer:
    """`run_layer`, remembering for its backward pass what `remat` says."""
    match remat:
        case Remat.NONE:
            return run_layer
        case Remat.SELECTIVE:
            policy = jax.checkpoint_policies.save_only_these_names(KEPT)
        case Remat.FULL:
            policy = jax.checkpoint_policies.nothing_saveable
    # Inside a scan nothing can be merged with the forward pass, so nothing has to be kept from it.
    checkpointed: RunLayer = jax.checkpoint(run_layer, policy=policy, prevent_cse=False)
    return checkpointed


def _in_layer(probe: Probe | None, index: Int[Array, ""]) -> Probe | None:
    if probe is None or probe.noise is None:
        return probe
    return probe._replace(noise=in_layer(probe.noise, index))


class Layer(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        size, eps = config.hidden_size, config.norm_eps
        self.input_layernorm = RMSNorm(stack, size, eps=eps, trained=trained)
        self.self_attn = Attention(stack, config, trained=trained)
        self.post_attention_layernorm = RMSNorm(stack, size, eps=eps, trained=trained)
        self.mlp = GatedMlp(stack, config, trained=trained)

    def __call__(
        self,
        x: Float[Array, "batch tokens hidden"],
        view: View,
        probe: Probe | None,
    ) -> Float[Array, "batch tokens hidden"]:
        x = x + self.self_attn(self.input_layernorm(x, probe), view.turn, view.mask, probe)
        return x + self.mlp(self.post_attention_layernorm(x, probe), probe)


LAYERS: dict[Block, type[Layer | SandwichLayer | Gpt2Layer]] = {
    Block.PRE_NORM: Layer,
    Block.SANDWICH: SandwichLayer,
    Block.GPT2: Gpt2Layer,
}
"""The layer of each kind of block."""
