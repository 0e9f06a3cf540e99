"""The layer of GPT-2, its parts under the names that its weights and adapters have."""

import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from aft_worker.model.attention import attend
from aft_worker.model.config import DecoderConfig
from aft_worker.model.layers import KEPT, Dense
from aft_worker.model.mlp import PlainMlp
from aft_worker.model.norms import LayerNorm
from aft_worker.model.probed.probe import Probe
from aft_worker.model.views import View


class Gpt2Layer(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (Radford et al., 2019)."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        size, eps = config.hidden_size, config.norm_eps
        self.ln_1 = LayerNorm(stack, size, eps=eps, trained=trained)
        self.attn = FusedAttention(stack, config, trained=trained)
        self.ln_2 = LayerNorm(stack, size, eps=eps, trained=trained)
        self.mlp = PlainMlp(stack, config, trained=trained)

    def __call__(
        self, x: Float[Array, "batch tokens hidden"], view: View, probe: Probe | None
    ) -> Float[Array, "batch tokens hidden"]:
        x = x + self.attn(self.ln_1(x, probe), view.mask, probe)
        return x + self.mlp(self.ln_2(x, probe), probe)


class FusedAttention(nnx.Module):
    """Attention whose queries, keys and values come from one projection."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        self.heads, self.head_dim, self.query_scale = config.heads, config.head_dim, config.query_scale
        size = config.hidden_size
        self.c_attn = Dense(stack, size, 3 * size, bias=config.qkv_bias, trained=trained)
        self.c_proj = Dense(stack, size, size, bias=config.output_bias, trained=trained)

    def __call__(
        self, x: Float[Array, "batch tokens hidden"], mask: Bool[Array, "#batch tokens tokens"], probe: Probe | None
    ) -> Float[Array, "batch tokens hidden"]:
        shape = (*x.shape[:2], self.heads, self.head_dim)
        q, k, v = (part.reshape(shape) for part in jnp.split(self.c_attn(x, probe), 3, axis=-1))
        mixed = checkpoint_name(attend(q, k, v, mask, scale=self.query_scale), KEPT)
        return self.c_proj(mixed.reshape(x.shape), probe)
