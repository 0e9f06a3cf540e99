"""Decoder: a pre-norm transformer with gated MLP, its layers stacked and run by one scan."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from aft_worker.model.attention import Attention, causal_mask
from aft_worker.model.config import DecoderConfig
from aft_worker.model.layers import KEPT, Dense, RMSNorm, TokenTable
from aft_worker.model.parameters import Parameters
from aft_worker.model.probed.embedding import Tie
from aft_worker.model.probed.head import frozen_head_nll, trained_head_nll
from aft_worker.model.probed.probe import Probe
from aft_worker.model.rope import Rotation, rotation


class Decoder(nnx.Module):
    """Token ids in; next-token logits, or the loss of given targets, out."""

    def __init__(self, config: DecoderConfig, *, trained: bool) -> None:
        self.config = config
        self.embed_tokens = TokenTable(config.vocab_size, config.hidden_size, trained=trained)
        self.layers = Layer((config.layers,), config, trained=trained)
        self.norm = RMSNorm((), config.hidden_size, eps=config.norm_eps, trained=trained)
        self.lm_head = None if config.tied_head else TokenTable(config.vocab_size, config.hidden_size, trained=trained)

    def logits(self, tokens: Int[Array, "batch tokens"]) -> Float[Array, "batch tokens vocab"]:
        """Next-token logits at every position, by plain operations."""
        hidden, _ = self._hidden(tokens, None)
        return jnp.einsum("btd,vd->btv", hidden, self._head.rows[...])

    def nll(
        self,
        tokens: Int[Array, "batch tokens"],
        targets: Int[Array, "batch tokens"],
        needed: Bool[Array, "batch tokens"],
        probe: Probe | None,
    ) -> Float[Array, "batch tokens"]:
        """Cross-entropy of `targets` in nats where `needed`, else 0.

        With a probe its gradients are those that `probe` describes; without one, frozen or not, the head is treated as
        frozen, so that nothing but the value and the gradients of what lies before the head may be taken from it.
        """
        hidden, tie = self._hidden(tokens, probe)
        table = self._head.rows[...]
        if probe is not None and self._head.trained:
            tie = tie if self.lm_head is None else None
            return trained_head_nll(hidden, table, tie, tokens, targets, needed, probe)
        flat = frozen_head_nll(hidden.reshape(-1, hidden.shape[-1]), table, targets.ravel(), needed.ravel())
        return flat.reshape(tokens.shape)

    @property
    def _head(self) -> TokenTable:
        return self.embed_tokens if self.lm_head is None else self.lm_head

    def _hidden(
        self, tokens: Int[Array, "batch tokens"], probe: Probe | None
    ) -> tuple[Float[Array, "batch tokens hidden"], Tie | None]:
        length = tokens.shape[1]
        turn = rotation(self.config.rope, self.config.head_dim, length)
        mask = causal_mask(length, self.config.sliding_window)
        structure, weights = nnx.split(self.layers)

        @partial(jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(KEPT), prevent_cse=False)
        def run_layer(x: Array, layer_weights: Parameters) -> tuple[Array, None]:
            return nnx.merge(structure, layer_weights)(x, turn, mask, probe), None

        x, tie = self.embed_tokens.look_up(tokens, probe)
        # One compiled layer run many times: unrolled, SmolLM2 compiles four times as long and is no faster.
        x, _ = jax.lax.scan(run_layer, x, weights)
        return self.norm(x, probe), tie


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
        turn: Rotation,
        mask: Bool[Array, "tokens tokens"],
        probe: Probe | None,
    ) -> Float[Array, "batch tokens hidden"]:
        x = x + self.self_attn(self.input_layernorm(x, probe), turn, mask, probe)
        return x + self.mlp(self.post_attention_layernorm(x, probe), probe)


class GatedMlp(nnx.Module):
    """(silu(x gate) * (x up)) down (Shazeer, 2020)."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        size, inner = config.hidden_size, config.inner_size
        self.gate_proj = Dense(stack, size, inner, bias=config.mlp_bias, trained=trained)
        self.up_proj = Dense(stack, size, inner, bias=config.mlp_bias, trained=trained)
        self.down_proj = Dense(stack, inner, size, bias=config.mlp_bias, trained=trained)

    def __call__(
        self, x: Float[Array, "batch tokens hidden"], probe: Probe | None
    ) -> Float[Array, "batch tokens hidden"]:
        return self.down_proj(jax.nn.silu(self.gate_proj(x, probe)) * self.up_proj(x, probe), probe)
