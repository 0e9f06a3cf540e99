"""Where adapters go, and their first values."""

import math
import zlib
from collections.abc import Iterable

import numpy as np
from flax import nnx

from aft_contracts import LoraSpec
from aft_worker.model.decoder import Decoder
from aft_worker.model.errors import UnknownLoraTarget
from aft_worker.model.layers import Dense
from aft_worker.model.parameters import ParameterPath


def add_adapters(decoder: Decoder, lora: LoraSpec) -> None:
    """Give the dense layers that `lora` names an adapter of zeros.

    Raises:
        UnknownLoraTarget: a name is no dense layer of this model.
    """
    layers = dense_layers(decoder)
    targets = target_names(decoder, lora)
    names = _names(layers)
    if unknown := [target for target in targets if target not in names]:
        raise UnknownLoraTarget(unknown, names)
    for path, layer in layers.items():
        if path[-1] in targets:
            layer.add_adapter("/".join(path), rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout)


def dense_layers(decoder: Decoder) -> dict[ParameterPath, Dense]:
    """Every dense layer but the head, by its path. Users say its end (`q_proj`, `down_proj`, …).

    That may be the end of several: GPT-2 closes both its attention and its MLP with a `c_proj`.
    """
    return {
        tuple(str(key) for key in path): module
        for path, module in nnx.iter_modules(decoder)
        if isinstance(module, Dense)
    }


def target_names(decoder: Decoder, lora: LoraSpec) -> tuple[str, ...]:
    """The names that `lora` targets, `all-linear` spelt out, in alphabetical order."""
    names = _names(dense_layers(decoder)) if lora.targets == "all-linear" else lora.targets
    return tuple(sorted(set(names)))


def _names(layers: Iterable[ParameterPath]) -> list[str]:
    return sorted({path[-1] for path in layers})


def first_value(path: ParameterPath, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A matrix of a fresh adapter: A uniform within 1/sqrt(d_in) as PEFT has it, B zero.

    Each parameter has a seed of its own, so one more target does not change the values of the others.
    """
    if path[-1] == "lora_b":
        return np.zeros(shape, np.float32)
    # numpy's generator: the same on every platform, and nothing to compile for each shape.
    draw = np.random.default_rng([seed, zlib.crc32("/".join(path).encode())])
    bound = 1.0 / math.sqrt(shape[-2])
    return draw.uniform(-bound, bound, shape).astype(np.float32)
