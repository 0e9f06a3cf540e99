"""DecoderConfig: what a Hugging Face config.json says about a decoder, in one form for every family."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aft_worker.model.errors import InvalidModelConfig, ModelFileMissing, UnknownModelFamily
from aft_worker.model.families import FAMILIES, Family


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary position embedding: angle of pair i at position p is `p * theta ** (-2 i / head_dim)`, then scaled."""

    theta: float
    factor: float = 1.0
    """Positions are stretched by this factor; 1 leaves them."""
    low_freq_factor: float | None = None
    """With the next two: only long waves are stretched (Llama 3.1). None stretches all."""
    high_freq_factor: float | None = None
    original_positions: int | None = None


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes and switches of a pre-norm decoder with gated MLP and rotary attention."""

    model_type: str
    vocab_size: int
    hidden_size: int
    inner_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope: Rope
    tied_head: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    sliding_window: int | None
    """Positions a token attends to, itself included; None for all before it."""


def read_config(model_dir: Path) -> DecoderConfig:
    """The config of the model in `model_dir`.

    Raises:
        ModelFileMissing: there is no config.json.
        UnknownModelFamily: its `model_type` is not supported.
        InvalidModelConfig: a value is missing, impossible or not supported.
    """
    path = model_dir / "config.json"
    if not path.is_file():
        raise ModelFileMissing(path, "it describes the architecture")
    try:
        raw = json.loads(path.read_text())
    except json.JSONDecodeError as broken:
        raise InvalidModelConfig("(file)", str(broken), "valid JSON") from broken
    return parse_config(raw)


def parse_config(raw: Mapping[str, Any]) -> DecoderConfig:
    """The config that the parsed config.json `raw` describes."""
    model_type = str(raw.get("model_type"))
    if model_type not in FAMILIES:
        raise UnknownModelFamily(model_type, FAMILIES)
    family = FAMILIES[model_type]
    values = {**family.defaults, **raw}
    heads, hidden_size = _size(values, "num_attention_heads"), _size(values, "hidden_size")
    config = DecoderConfig(
        model_type=model_type,
        vocab_size=_size(values, "vocab_size"),
        hidden_size=hidden_size,
        inner_size=_size(values, "intermediate_size"),
        layers=_size(values, "num_hidden_layers"),
        heads=heads,
        kv_heads=_size(values, "num_key_value_heads", or_else=heads),
        head_dim=_size(values, "head_dim", or_else=hidden_size // heads),
        norm_eps=float(values["rms_norm_eps"]),
        rope=_rope(values),
        tied_head=bool(values["tie_word_embeddings"]),
        qkv_bias=family.qkv_bias or bool(values.get("attention_bias")),
        output_bias=family.takes_attention_bias and bool(values.get("attention_bias")),
        mlp_bias=bool(values.get("mlp_bias")),
        qk_norm=family.qk_norm,
        sliding_window=_sliding_window(values, family),
    )
    _refuse_impossible(config, values)
    return config


def _size(values: Mapping[str, Any], key: str, or_else: int | None = None) -> int:
    value = values.get(key)
    if value is None and or_else is not None:
        return or_else
    if not isinstance(value, int) or value < 1:
        raise InvalidModelConfig(key, value, "a whole number of at least 1")
    return value


def _refuse_impossible(config: DecoderConfig, values: Mapping[str, Any]) -> None:
    if config.heads % config.kv_heads:
        raise InvalidModelConfig("num_key_value_heads", config.kv_heads, f"a divisor of {config.heads} heads")
    if config.head_dim % 2:
        raise InvalidModelConfig("head_dim", config.head_dim, "an even number, for rotary pairs")
    if values["hidden_act"] not in ("silu", "swish"):
        raise InvalidModelConfig("hidden_act", values["hidden_act"], "silu")


def _sliding_window(values: Mapping[str, Any], family: Family) -> int | None:
    if family.window_needs_switch:
        if values.get("use_sliding_window"):
            raise InvalidModelConfig("use_sliding_window", True, "false: windows in some layers only are not supported")
        return None
    return values.get("sliding_window") if family.has_window else None


def _rope(values: Mapping[str, Any]) -> Rope:
    # transformers 5 writes rope_parameters; before it, rope_theta beside an optional rope_scaling.
    parameters = {"rope_theta": values["rope_theta"]}
    for key in ("rope_scaling", "rope_parameters"):
        parameters |= values.get(key) or {}
    theta = float(parameters["rope_theta"])
    match parameters.get("rope_type", parameters.get("type", "default")):
        case "default":
            return Rope(theta=theta)
        case "linear":
            return Rope(theta=theta, factor=float(parameters["factor"]))
        case "llama3":
            return Rope(
                theta=theta,
                factor=float(parameters["factor"]),
                low_freq_factor=float(parameters["low_freq_factor"]),
                high_freq_factor=float(parameters["high_freq_factor"]),
                original_positions=int(parameters["original_max_position_embeddings"]),
            )
        case other:
            raise InvalidModelConfig("rope_type", other, "default, linear or llama3")
