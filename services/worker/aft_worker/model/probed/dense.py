"""Dense layers, scales and biases that report each sample's gradient norm."""

# B lines of the batch, T tokens, R rank

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aft_worker.model.probed.probe import Probe, dense_gradient, low_rank_gradient, vector_gradient


@jax.custom_vjp
def dense(
    x: Float[Array, "batch tokens d_in"], kernel: Float[Array, "d_in d_out"], probe: Probe
) -> Float[Array, "batch tokens d_out"]:
    """`x @ kernel` in the type of `x`, the kernel trained."""
    return x @ kernel.astype(x.dtype)


def _dense_forward(x: Array, kernel: Array, probe: Probe) -> tuple[Array, Any]:
    return dense(x, kernel, probe), (x, kernel, probe)


def _dense_backward(saved: Any, g: Array) -> tuple[Array, Array, Probe]:
    x, kernel, probe = saved
    d_kernel, squared_norms = dense_gradient(x, g, probe)
    return jnp.einsum("bto,io->bti", g, kernel.astype(g.dtype)), d_kernel, probe.cotangent(squared_norms)


dense.defvjp(_dense_forward, _dense_backward)


@jax.custom_vjp
def lora_dense(
    x: Float[Array, "batch tokens d_in"],
    x_low: Float[Array, "batch tokens d_in"],
    kernel: Float[Array, "d_in d_out"],
    lora_a: Float[Array, "d_in rank"],
    lora_b: Float[Array, "rank d_out"],
    scale: Float[Array, ""],
    probe: Probe,
) -> Float[Array, "batch tokens d_out"]:
    """`x @ kernel + scale * x_low @ lora_a @ lora_b`, only the two low-rank matrices trained.

    `x_low` is `x`, or what dropout left of it.
    """
    return _lora_forward(x, x_low, kernel, lora_a, lora_b, scale, probe)[0]


def _lora_forward(
    x: Array, x_low: Array, kernel: Array, lora_a: Array, lora_b: Array, scale: Array, probe: Probe
) -> tuple[Array, Any]:
    lora_a, lora_b, scale = (value.astype(x.dtype) for value in (lora_a, lora_b, scale))
    inner_BTR = scale * (x_low @ lora_a)
    y = x @ kernel.astype(x.dtype) + inner_BTR @ lora_b
    return y, (x_low, inner_BTR, kernel, lora_a, lora_b, scale, probe)


def _lora_backward(saved: Any, g: Array) -> tuple[Array, Array, None, Array, Array, None, Probe]:
    x_low, inner_BTR, kernel, lora_a, lora_b, scale, probe = saved
    g_inner_BTR = scale * jnp.einsum("bto,ro->btr", g, lora_b)
    d_lora_a, squared_a = low_rank_gradient(x_low, g_inner_BTR, probe)
    d_lora_b, squared_b = low_rank_gradient(inner_BTR, g, probe)
    d_x = jnp.einsum("bto,io->bti", g, kernel.astype(g.dtype))
    d_x_low = jnp.einsum("btr,ir->bti", g_inner_BTR, lora_a)
    return d_x, d_x_low, None, d_lora_a, d_lora_b, None, probe.cotangent(squared_a + squared_b)


lora_dense.defvjp(_lora_forward, _lora_backward)


@jax.custom_vjp
def scaled(
    x: Float[Array, "batch tokens *inner d"], scale: Float[Array, " d"], probe: Probe
) -> Float[Array, "batch tokens *inner d"]:
    """`x * scale`, the scale trained."""
    return x * scale


def _scaled_forward(x: Array, scale: Array, probe: Probe) -> tuple[Array, Any]:
    return x * scale, (x, scale, probe)


def _scaled_backward(saved: Any, g: Array) -> tuple[Array, Array, Probe]:
    x, scale, probe = saved
    d_scale, squared_norms = vector_gradient(g * x, probe)
    return g * scale, d_scale, probe.cotangent(squared_norms)


scaled.defvjp(_scaled_forward, _scaled_backward)


@jax.custom_vjp
def shifted(
    x: Float[Array, "batch tokens *inner d"], bias: Float[Array, " d"], probe: Probe
) -> Float[Array, "batch tokens *inner d"]:
    """`x + bias` in the type of `x`, the bias trained."""
    return x + bias.astype(x.dtype)


def _shifted_forward(x: Array, bias: Array, probe: Probe) -> tuple[Array, Any]:
    return shifted(x, bias, probe), probe


def _shifted_backward(probe: Probe, g: Array) -> tuple[Array, Array, Probe]:
    d_bias, squared_norms = vector_gradient(g, probe)
    return g, d_bias, probe.cotangent(squared_norms)


shifted.defvjp(_shifted_forward, _shifted_backward)
