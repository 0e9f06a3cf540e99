"""Activation functions by the names that config.json has for them."""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

import jax
from jaxtyping import Array

_gelu_tanh = partial(jax.nn.gelu, approximate=True)
_gelu_exact = partial(jax.nn.gelu, approximate=False)

ACTIVATIONS: MappingProxyType[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "silu": jax.nn.silu,
        "swish": jax.nn.silu,
        "gelu": _gelu_exact,
        "gelu_new": _gelu_tanh,
        "gelu_pytorch_tanh": _gelu_tanh,
        "relu": jax.nn.relu,
    }
)
"""GELU and its tanh form are from Hendrycks & Gimpel (2016)."""
