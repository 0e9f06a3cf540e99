"""Parameters: a tree of named arrays, as Flax NNX keeps them."""

from collections.abc import Callable
from typing import Any

from flax import nnx

Parameters = nnx.State[Any, Any]
"""Part of a model's variables; `nnx.merge` puts the parts together again."""

ParameterPath = tuple[str, ...]
"""A parameter's place in the decoder's tree, `("layers", "self_attn", "q_proj", "kernel")`."""


def flat(parameters: Parameters) -> list[tuple[ParameterPath, nnx.Variable[Any]]]:
    """Every variable with its path, in a stable order."""
    return [(tuple(str(key) for key in path), variable) for path, variable in nnx.to_flat_state(parameters)]


def with_values(parameters: Parameters, value_of: Callable[[ParameterPath, nnx.Variable[Any]], Any]) -> Parameters:
    """The same tree with other arrays in it."""
    filled: Parameters = nnx.from_flat_state(
        [(path, variable.replace(value_of(path, variable))) for path, variable in flat(parameters)]
    )
    return filled
