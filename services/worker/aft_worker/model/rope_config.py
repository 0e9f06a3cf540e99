"""Rotary settings in config.json, in the old spelling and the new."""

from collections.abc import Mapping
from typing import Any

from aft_worker.model.config import Rope
from aft_worker.model.config_values import ConfigValues, positive
from aft_worker.model.errors import InvalidModelConfig

LAYER_TYPES = ("sliding_attention", "full_attention")


def read_rope(values: ConfigValues) -> Rope:
    """The one rope of all layers: `rope_parameters`, or before transformers 5 `rope_theta` beside `rope_scaling`."""
    parameters = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if any(kind in parameters for kind in LAYER_TYPES):
        raise InvalidModelConfig("rope_parameters", parameters, "the same for all layers of this family")
    return _rope(parameters, values.get("rope_theta"), values)


def read_ropes_by_type(values: ConfigValues) -> dict[str, Rope]:
    """The rope of each layer type (Gemma 3).

    New: `rope_parameters` with an entry a type. Old: `rope_theta` and `rope_scaling` for layers that see everything,
    `rope_local_base_freq` for those with a window.
    """
    by_type = values.get("rope_parameters") or {}
    if by_type and not any(kind in by_type for kind in LAYER_TYPES):
        raise InvalidModelConfig("rope_parameters", by_type, f"an entry for each of {', '.join(LAYER_TYPES)}")
    full = (by_type.get("full_attention") or {}) | (values.get("rope_scaling") or {})
    sliding = by_type.get("sliding_attention") or {}
    return {
        "full_attention": _rope(full, values.get("rope_theta"), values),
        "sliding_attention": _rope(sliding, values.get("rope_local_base_freq"), values),
    }


def _rope(parameters: Mapping[str, Any], default_theta: object, values: ConfigValues) -> Rope:
    _refuse_partial(parameters.get("partial_rotary_factor", values.get("partial_rotary_factor")))
    given = {"rope_theta": default_theta, "original_max_position_embeddings": values.get("max_position_embeddings")}
    given |= {key: value for key, value in parameters.items() if value is not None}

    def number(key: str) -> float:
        return positive(key, given.get(key))

    theta = number("rope_theta")
    match given.get("rope_type", given.get("type", "default")):
        case "default":
            return Rope(theta=theta)
        case "linear":
            return Rope(theta=theta, factor=number("factor"))
        case "llama3":
            return Rope(
                theta=theta,
                factor=number("factor"),
                low_freq_factor=number("low_freq_factor"),
                high_freq_factor=number("high_freq_factor"),
                original_positions=int(number("original_max_position_embeddings")),
            )
        case other:
            raise InvalidModelConfig("rope_type", other, "default, linear or llama3")


def _refuse_partial(share: object) -> None:
    if share not in (None, 1, 1.0):
        raise InvalidModelConfig("partial_rotary_factor", share, "1: this decoder turns whole heads")
