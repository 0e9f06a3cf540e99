"""Causal grouped-query attention with rotary positions."""

# B lines of the batch, T queries, S keys, K key heads, G queries a key head, H head dimension

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from aft_worker.model.config import DecoderConfig
from aft_worker.model.layers import KEPT, Dense
from aft_worker.model.norms import make_norm
from aft_worker.model.probed.probe import Probe, product
from aft_worker.model.probed.soft_cap import soft_cap
from aft_worker.model.rope import Rotation, rotate

_LOWEST = float(np.finfo(np.float32).min)


class Attention(nnx.Module):
    """softmax(cap(q k' * scale) + mask) v, heads in parallel, then the output projection."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.query_scale, self.cap = config.query_scale, config.attention_cap
        size, q_size, kv_size = config.hidden_size, config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = Dense(stack, size, q_size, bias=config.qkv_bias, trained=trained)
        self.k_proj = Dense(stack, size, kv_size, bias=config.qkv_bias, trained=trained)
        self.v_proj = Dense(stack, size, kv_size, bias=config.qkv_bias, trained=trained)
        self.o_proj = Dense(stack, q_size, size, bias=config.output_bias, trained=trained)
        self.q_norm = make_norm(stack, self.head_dim, config, trained=trained) if config.qk_norm else None
        self.k_norm = make_norm(stack, self.head_dim, config, trained=trained) if config.qk_norm else None

    def __call__(
        self,
        x: Float[Array, "batch tokens hidden"],
        turn: Rotation | None,
        mask: Bool[Array, "#batch tokens tokens"],
        probe: Probe | None,
    ) -> Float[Array, "batch tokens hidden"]:
        batch, tokens, _ = x.shape
        q = self.q_proj(x, probe).reshape(batch, tokens, self.heads, self.head_dim)
        k = self.k_proj(x, probe).reshape(batch, tokens, self.kv_heads, self.head_dim)
        v = self.v_proj(x, probe).reshape(batch, tokens, self.kv_heads, self.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q, probe), self.k_norm(k, probe)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        mixed = checkpoint_name(attend(q, k, v, mask, scale=self.query_scale, cap=self.cap), KEPT)
        return self.o_proj(mixed.reshape(batch, tokens, -1), probe)


def attend(
    q: Float[Array, "batch tokens heads head_dim"],
    k: Float[Array, "batch tokens kv_heads head_dim"],
    v: Float[Array, "batch tokens kv_heads head_dim"],
    mask: Bool[Array, "#batch tokens tokens"],
    *,
    scale: float,
    cap: float | None = None,
) -> Float[Array, "batch tokens heads head_dim"]:
    """Each query's mean of the values it may see, weighted by softmax of the scaled and capped products."""
    batch, tokens, heads, head_dim = q.shape
    q_BTKGH = (q * scale).reshape(batch, tokens, k.shape[2], -1, head_dim)
    scores_BKGTS = soft_cap(product("btkgh,bskh->bkgts", q_BTKGH, k), cap)
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
