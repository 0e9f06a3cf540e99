"""AdamW without its learning rate: rate and clip are inputs of the step, so changing them compiles nothing."""

from typing import Any

import jax
import optax

from aft_contracts import OptimSpec
from aft_worker.model.parameters import Parameters

_UNDECAYED = ("scale", "bias")


def make_optimizer(optim: OptimSpec) -> optax.GradientTransformation:
    """Gradients in, directions out; the caller multiplies by minus the learning rate."""
    return optax.chain(
        optax.scale_by_adam(b1=optim.beta1, b2=optim.beta2, eps=optim.epsilon),
        optax.add_decayed_weights(optim.weight_decay, mask=_is_decayed),
    )


def _is_decayed(parameters: Parameters) -> Any:
    """True for matrices; norm scales and biases are not pulled to zero."""

    def decays(path: tuple[Any, ...], _: Any) -> bool:
        return not any(getattr(entry, "key", None) in _UNDECAYED for entry in path)

    return jax.tree_util.tree_map_with_path(decays, parameters)
