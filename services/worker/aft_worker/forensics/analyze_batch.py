"""Per-sample loss and gradient norm of any loss function, the textbook way: vmap over grad.

It holds one gradient a sample in memory, and needs to know nothing about the model. The training step gets the same
figures from one backward pass (model/probed/); this is what those are checked against.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

LossFunction = Callable[[Any, Any], Float[Array, ""]]
"""parameters, one sample -> its loss."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class SampleAnalysis:
    """What each sample of a batch does to the parameters."""

    losses: Float[Array, " batch"]
    grad_norms: Float[Array, " batch"]
    """L2 norm of each sample's gradient."""
    gradients: PyTree | None
    """The gradients themselves, samples along the first axis of every leaf; None unless asked for."""


def analyze_batch(
    loss_function: LossFunction, parameters: PyTree, batch: PyTree, *, keep_gradients: bool = False
) -> SampleAnalysis:
    """Loss and gradient norm of every sample; samples lie along the first axis of every leaf of `batch`."""

    def of_sample(sample: Any) -> tuple[Array, Array, PyTree | None]:
        loss, gradient = jax.value_and_grad(loss_function)(parameters, sample)
        return loss, optax.tree.norm(gradient), gradient if keep_gradients else None

    losses, grad_norms, gradients = jax.jit(jax.vmap(of_sample))(batch)
    return SampleAnalysis(losses=jnp.asarray(losses), grad_norms=jnp.asarray(grad_norms), gradients=gradients)
