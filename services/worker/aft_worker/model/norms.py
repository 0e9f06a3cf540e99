"""Norms of the families that are not plain RMS norms."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aft_worker.model.config import DecoderConfig, NormKind
from aft_worker.model.layers import RMSNorm, measures
from aft_worker.model.probed.dense import scaled, shifted
from aft_worker.model.probed.probe import Probe


class LayerNorm(nnx.Module):
    """(x - mean(x)) / sqrt(var(x) + eps) * scale + bias, over the last axis (Ba et al., 2016)."""

    def __init__(self, stack: tuple[int, ...], size: int, *, eps: float, trained: bool) -> None:
        self.eps, self.trained = eps, trained
        self.scale = nnx.Param(jnp.zeros((*stack, size)))
        self.bias = nnx.Param(jnp.zeros((*stack, size)))

    def __call__(self, x: Float[Array, "batch *inner size"], probe: Probe | None) -> Float[Array, "batch *inner size"]:
        exact = x.astype(jnp.float32)
        centred = exact - exact.mean(-1, keepdims=True)
        normed = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + self.eps)
        scale, bias = self.scale[...].astype(jnp.float32), self.bias[...].astype(jnp.float32)
        if measures(probe) and self.trained:
            return shifted(scaled(normed, scale, probe), bias, probe).astype(x.dtype)
        return (normed * scale + bias).astype(x.dtype)


def make_norm(stack: tuple[int, ...], size: int, config: DecoderConfig, *, trained: bool) -> RMSNorm | LayerNorm:
    """A norm over `size` features of the kind that `config` has."""
    if config.norm is NormKind.LAYER:
        return LayerNorm(stack, size, eps=config.norm_eps, trained=trained)
    offset = 1.0 if config.norm is NormKind.RMS_AROUND_ONE else 0.0
    return RMSNorm(stack, size, eps=config.norm_eps, offset=offset, trained=trained)
