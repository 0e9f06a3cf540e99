"""AdamW without its learning rate: rate and clip are inputs of the step, so changing them compiles nothing."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from aft_contracts import OptimSpec
from aft_worker.model.parameters import Parameters

_UNDECAYED = ("scale", "bias")
_update_moment: Any = optax.tree.update_moment  # Optax has no types for it.


def make_optimizer(optim: OptimSpec) -> optax.GradientTransformationExtraArgs:
    """Gradients in, directions out; the caller multiplies by minus the learning rate.

    `update` takes `applied`: where it is false, the moments stay what they were and the directions mean nothing.
    """
    return optax.chain(
        _scale_by_adam(optim),
        optax.add_decayed_weights(optim.weight_decay, mask=_is_decayed),
    )


def _scale_by_adam(optim: OptimSpec) -> optax.GradientTransformationExtraArgs:
    """`optax.scale_by_adam` (Kingma and Ba, 2015), with the choice whether to learn made before the moments are used.

    A choice behind the whole update computes each moment twice, once for the weights and once to be kept or not: that
    is one more pass over gradient and moments (docs/PERFORMANCE.md).
    """
    stock = optax.scale_by_adam(b1=optim.beta1, b2=optim.beta2, eps=optim.epsilon)

    def update(gradient: Any, state: Any, params: Any = None, *, applied: Bool[Array, ""], **_: Any) -> Any:
        del params
        moved = optax.ScaleByAdamState(
            count=state.count + 1,
            mu=_update_moment(gradient, state.mu, optim.beta1, 1),
            nu=_update_moment(gradient, state.nu, optim.beta2, 2),
        )
        after = jax.tree.map(lambda new, old: jnp.where(applied, new, old), moved, state)
        mu_hat = optax.tree.bias_correction(after.mu, optim.beta1, moved.count)
        nu_hat = optax.tree.bias_correction(after.nu, optim.beta2, moved.count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + optim.epsilon), mu_hat, nu_hat), after

    return optax.GradientTransformationExtraArgs(stock.init, cast(Any, update))


def _is_decayed(parameters: Parameters) -> Any:
    """True for matrices; norm scales and biases are not pulled to zero."""

    def decays(path: tuple[Any, ...], _: Any) -> bool:
        return not any(getattr(entry, "key", None) in _UNDECAYED for entry in path)

    return jax.tree_util.tree_map_with_path(decays, parameters)
