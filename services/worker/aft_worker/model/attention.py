"""Causal grouped-query attention with rotary positions."""

# B lines of the batch, T queries, S keys, K key heads, G queries a key head, H head dimension

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from aft_worker.model.config import DecoderConfig
from aft_worker.model.layers import KEPT, Dense, RMSNorm
from aft_worker.model.probed.probe import Probe, product
from aft_worker.model.rope import Rotation, rotate

_LOWEST = float(np.finfo(np.float32).min)


class Attention(nnx.Module):
    """softmax(q k' / sqrt(head_dim) + mask) v, heads in parallel, then the output projection."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        size, q_size, kv_size = config.hidden_size, config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = Dense(stack, size, q_size, bias=config.qkv_bias, trained=trained)
        self.k_proj = Dense(stack, size, kv_size, bias=config.qkv_bias, trained=trained)
        self.v_proj = Dense(stack, size, kv_size, bias=config.qkv_bias, trained=trained)
        self.o_proj = Dense(stack, q_size, size, bias=config.output_bias, trained=trained)
        self.q_norm = self._head_norm(stack, config, trained)
        self.k_norm = self._head_norm(stack, config, trained)

    def __call__(
        self,
        x: Float[Array, "batch tokens hidden"],
        turn: Rotation,
        mask: Bool[Array, "#batch tokens tokens"],
        probe: Probe | None,
    ) -> Float[Array, "batch tokens hidden"]:
        batch, tokens, _ = x.shape
        q = self.q_proj(x, probe).reshape(batch, tokens, self.heads, self.head_dim)
        k = self.k_proj(x, probe).reshape(batch, tokens, self.kv_heads, self.head_dim)
        v = self.v_proj(x, probe).reshape(batch, tokens, self.kv_heads, self.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q, probe), self.k_norm(k, probe)
        mixed = checkpoint_name(attend(rotate(q, turn), rotate(k, turn), v, mask), KEPT)
        return self.o_proj(mixed.reshape(batch, tokens, -1), probe)

    @staticmethod
    def _head_norm(stack: tuple[int, ...], config: DecoderConfig, trained: bool) -> RMSNorm | None:
        return RMSNorm(stack, config.head_dim, eps=config.norm_eps, trained=trained) if config.qk_norm else None


def attend(
    q: Float[Array, "batch tokens heads head_dim"],
    k: Float[Array, "batch tokens kv_heads head_dim"],
    v: Float[Array, "batch tokens kv_heads head_dim"],
    mask: Bool[Array, "#batch tokens tokens"],
) -> Float[Array, "batch tokens heads head_dim"]:
    """Each query's mean of the values it may see, weighted by softmax of the scaled products."""
    batch, tokens, heads, head_dim = q.shape
    q_BTKGH = (q * head_dim**-0.5).reshape(batch, tokens, k.shape[2], -1, head_dim)
    scores_BKGTS = product("btkgh,bskh->bkgts", q_BTKGH, k)
    # Finite, not -inf: every row sees at least itself, and -inf would make NaN out of an overflowed row's maximum.
    scores_BKGTS = jnp.where(mask[:, None, None], scores_BKGTS, _LOWEST)
    weights_BKGTS = jax.nn.softmax(scores_BKGTS).astype(v.dtype)
    return jnp.einsum("bkgts,bskh->btkgh", weights_BKGTS, v).reshape(batch, tokens, heads, head_dim)


def causal_mask(
    tokens: int, window: int | None, segments: Int[Array, "batch tokens"] | None = None
) -> Bool[Array, "#batch tokens tokens"]:
    """Which keys (columns) each query (row) sees: itself and those before it, at most `window` of them.

    With `segments` only those of the same sample; they lie one after another, so a distance in tokens is one in the
    sample.
    """
    distance = jnp.arange(tokens)[:, None] - jnp.arange(tokens)[None, :]
    causal = ((distance >= 0) & (distance < (window or tokens)))[None]
    return causal if segments is None else causal & (segments[:, :, None] == segments[:, None, :])
