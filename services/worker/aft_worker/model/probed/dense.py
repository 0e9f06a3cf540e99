"""Dense layers, scales and biases that report each sample's gradient norm."""

# B batch, T tokens, R rank

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aft_worker.model.probed.probe import Probe, dense_gradient, low_rank_gradient


@jax.custom_vjp
def dense(
    x: Float[Array, "batch tokens d_in"], kernel: Float[Array, "d_in d_out"], probe: Probe
) -> Float[Array, "batch tokens d_out"]:
    """`x @ kernel`, the kernel trained."""
    return x @ kernel


def _dense_forward(x: Array, kernel: Array, probe: Probe) -> tuple[Array, Any]:
    return x @ kernel, (x, kernel, probe.shares)


def _dense_backward(saved: Any, g: Array) -> tuple[Array, Array, Probe]:
    x, kernel, shares = saved
    d_kernel, squared_norms = dense_gradient(x, g, shares)
    return jnp.einsum("bto,io->bti", g, kernel), d_kernel, Probe(squared_norms, jnp.zeros_like(shares))


dense.defvjp(_dense_forward, _dense_backward)


@jax.custom_vjp
def lora_dense(
    x: Float[Array, "batch tokens d_in"],
    kernel: Float[Array, "d_in d_out"],
    lora_a: Float[Array, "d_in rank"],
    lora_b: Float[Array, "rank d_out"],
    scale: Float[Array, ""],
    probe: Probe,
) -> Float[Array, "batch tokens d_out"]:
    """`x @ kernel + scale * x @ lora_a @ lora_b`, only the two low-rank matrices trained."""
    return x @ kernel + (scale * (x @ lora_a)) @ lora_b


def _lora_forward(
    x: Array, kernel: Array, lora_a: Array, lora_b: Array, scale: Array, probe: Probe
) -> tuple[Array, Any]:
    inner_BTR = scale * (x @ lora_a)
    return x @ kernel + inner_BTR @ lora_b, (x, inner_BTR, kernel, lora_a, lora_b, scale, probe.shares)


def _lora_backward(saved: Any, g: Array) -> tuple[Array, None, Array, Array, None, Probe]:
    x, inner_BTR, kernel, lora_a, lora_b, scale, shares = saved
    g_inner_BTR = scale * jnp.einsum("bto,ro->btr", g, lora_b)
    d_lora_a, squared_a = low_rank_gradient(x, g_inner_BTR, shares)
    d_lora_b, squared_b = low_rank_gradient(inner_BTR, g, shares)
    d_x = jnp.einsum("bto,io->bti", g, kernel) + jnp.einsum("btr,ir->bti", g_inner_BTR, lora_a)
    return d_x, None, d_lora_a, d_lora_b, None, Probe(squared_a + squared_b, jnp.zeros_like(shares))


lora_dense.defvjp(_lora_forward, _lora_backward)


@jax.custom_vjp
def scaled(
    x: Float[Array, "batch *inner d"], scale: Float[Array, " d"], probe: Probe
) -> Float[Array, "batch *inner d"]:
    """`x * scale`, the scale trained."""
    return x * scale


def _scaled_forward(x: Array, scale: Array, probe: Probe) -> tuple[Array, Any]:
    return x * scale, (x, scale, probe.shares)


def _scaled_backward(saved: Any, g: Array) -> tuple[Array, Array, Probe]:
    x, scale, shares = saved
    return g * scale, *_vector_gradient(g * x, shares)


scaled.defvjp(_scaled_forward, _scaled_backward)


@jax.custom_vjp
def shifted(
    x: Float[Array, "batch *inner d"], bias: Float[Array, " d"], probe: Probe
) -> Float[Array, "batch *inner d"]:
    """`x + bias`, the bias trained."""
    return x + bias


def _shifted_forward(x: Array, bias: Array, probe: Probe) -> tuple[Array, Any]:
    return x + bias, probe.shares


def _shifted_backward(shares: Any, g: Array) -> tuple[Array, Array, Probe]:
    return g, *_vector_gradient(g, shares)


shifted.defvjp(_shifted_forward, _shifted_backward)


def _vector_gradient(contributions: Float[Array, "batch *inner d"], shares: Array) -> tuple[Array, Probe]:
    own_BD = contributions.sum(tuple(range(1, contributions.ndim - 1)))
    return shares @ own_BD, Probe((own_BD**2).sum(1), jnp.zeros_like(shares))
