"""What each layer of a family sees: which have a sliding window, and how they turn positions."""

from collections.abc import Callable, Iterable
from typing import Any

from aft_worker.model.config import LayerKind
from aft_worker.model.config_values import ConfigValues
from aft_worker.model.errors import InvalidModelConfig
from aft_worker.model.rope_config import LAYER_TYPES, read_rope, read_ropes_by_type

ReadKinds = Callable[[ConfigValues], tuple[LayerKind, ...]]
"""One kind a layer, from the values of a config.json."""


def all_full(values: ConfigValues) -> tuple[LayerKind, ...]:
    """Llama: every layer sees everything before it."""
    return (LayerKind(window=None, rope=read_rope(values)),) * values.size("num_hidden_layers")


def all_unturned(values: ConfigValues) -> tuple[LayerKind, ...]:
    """GPT-2: the same, and positions are learned."""
    return (LayerKind(window=None, rope=None),) * values.size("n_layer")


def all_sliding(values: ConfigValues) -> tuple[LayerKind, ...]:
    """Mistral: every layer has the window, where there is one."""
    kind = LayerKind(window=values.optional_size("sliding_window"), rope=read_rope(values))
    return (kind,) * values.size("num_hidden_layers")


def sliding_above(values: ConfigValues) -> tuple[LayerKind, ...]:
    """Qwen 2 and 3: with `use_sliding_window`, layers from `max_window_layers` on, or those in `layer_types`."""
    window = values.optional_size("sliding_window") if values.flag("use_sliding_window") else None
    first = values.size("max_window_layers") if values.get("max_window_layers") else 0
    types = _layer_types(values, lambda layer: window is not None and layer >= first)
    rope = read_rope(values)
    return tuple(LayerKind(window=_window(type_, window), rope=rope) for type_ in types)


def alternating(values: ConfigValues) -> tuple[LayerKind, ...]:
    """Gemma 2: a window in every other layer, the first included."""
    window, rope = values.optional_size("sliding_window"), read_rope(values)
    types = _layer_types(values, lambda layer: layer % 2 == 0)
    return tuple(LayerKind(window=_window(type_, window), rope=rope) for type_ in types)


def mostly_sliding(values: ConfigValues) -> tuple[LayerKind, ...]:
    """Gemma 3: every `sliding_window_pattern`-th layer sees everything, the others have a window and their own rope."""
    window, ropes = values.optional_size("sliding_window"), read_ropes_by_type(values)
    pattern = values.size("sliding_window_pattern")
    types = _layer_types(values, lambda layer: (layer + 1) % pattern != 0)
    return tuple(LayerKind(window=_window(type_, window), rope=ropes[type_]) for type_ in types)


def partly_unturned(values: ConfigValues) -> tuple[LayerKind, ...]:
    """SmolLM3: every `no_rope_layer_interval`-th layer leaves positions alone, and it alone may have a window."""
    layers, interval = values.size("num_hidden_layers"), values.size("no_rope_layer_interval")
    turned = values.get("no_rope_layers") or [int((layer + 1) % interval != 0) for layer in range(layers)]
    _refuse_wrong_length("no_rope_layers", turned, layers)
    window = values.optional_size("sliding_window") if values.flag("use_sliding_window") else None
    types = _layer_types(values, lambda layer: window is not None and not turned[layer])
    rope = read_rope(values)
    return tuple(
        LayerKind(window=_window(type_, window), rope=rope if is_turned else None)
        for type_, is_turned in zip(types, turned, strict=True)
    )


def _layer_types(values: ConfigValues, is_sliding: Callable[[int], bool]) -> list[str]:
    """The type of each layer: as the file lists them, else as the family has it."""
    layers = values.size("num_hidden_layers")
    given = values.get("layer_types")
    if given is None:
        return [LAYER_TYPES[0] if is_sliding(layer) else LAYER_TYPES[1] for layer in range(layers)]
    _refuse_wrong_length("layer_types", given, layers)
    for type_ in given:
        if type_ not in LAYER_TYPES:
            raise InvalidModelConfig("layer_types", type_, " or ".join(LAYER_TYPES))
    return list(given)


def _window(type_: str, window: int | None) -> int | None:
    if type_ == "full_attention":
        return None
    if window is None:
        raise InvalidModelConfig("sliding_window", window, "a size, as some of layer_types are sliding_attention")
    return window


def _refuse_wrong_length(key: str, given: Iterable[Any], layers: int) -> None:
    if len(list(given)) != layers:
        raise InvalidModelConfig(key, given, f"one entry for each of the {layers} layers")
