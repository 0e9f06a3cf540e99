"""config.json of a Hugging Face directory, read into a DecoderConfig."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aft_worker.model.activations import ACTIVATIONS
from aft_worker.model.config import Block, DecoderConfig
from aft_worker.model.config_values import ConfigValues
from aft_worker.model.errors import InvalidModelConfig, ModelFileMissing, UnknownModelFamily
from aft_worker.model.families import FAMILIES, Family

MULTIMODAL = "gemma3"
"""Gemma 3 with a vision tower: its text part, a gemma3_text, is what is trained."""


def read_config(model_dir: Path) -> DecoderConfig:
    """The config of the model in `model_dir`.

    Raises:
        ModelFileMissing: there is no config.json.
        UnknownModelFamily: its `model_type` is not supported.
        InvalidModelConfig: a value is missing, impossible or not supported.
    """
    return parse_config(read_raw(model_dir))


def read_raw(model_dir: Path) -> Mapping[str, Any]:
    """The config.json of the model in `model_dir`, parsed and no more.

    Raises:
        ModelFileMissing: there is none.
        InvalidModelConfig: it is not a JSON object.
    """
    path = model_dir / "config.json"
    if not path.is_file():
        raise ModelFileMissing(path, "it describes the architecture")
    try:
        raw = json.loads(path.read_text())
    except (ValueError, RecursionError) as broken:
        raise InvalidModelConfig("(file)", str(broken), "valid JSON") from broken
    if not isinstance(raw, Mapping):
        raise InvalidModelConfig("(file)", type(raw).__name__, "an object with the settings of the model")
    return raw


def parse_config(raw: Mapping[str, Any]) -> DecoderConfig:
    """The config that the parsed config.json `raw` describes."""
    text = text_part(raw)
    model_type = str(text.get("model_type"))
    if model_type not in FAMILIES:
        raise UnknownModelFamily(model_type, [*FAMILIES, MULTIMODAL])
    family = FAMILIES[model_type]
    values = ConfigValues(text, family.defaults)
    read = _gpt2 if family.block is Block.GPT2 else _rotary
    config = read(model_type, values, family, is_text_part=text is not raw)
    if config.heads % config.kv_heads:
        raise InvalidModelConfig("num_key_value_heads", config.kv_heads, f"a divisor of {config.heads} heads")
    return config


def text_part(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """`raw` itself, or of a multimodal one the part that describes the language model."""
    if raw.get("model_type") != MULTIMODAL:
        return raw
    text = raw.get("text_config")
    if not isinstance(text, Mapping):
        raise InvalidModelConfig("text_config", text, "the settings of the language model")
    # transformers caps no logits in the multimodal model, whatever its file says.
    fixed = {"model_type": "gemma3_text", "final_logit_softcapping": None}
    return {**text, **fixed, "tie_word_embeddings": raw.get("tie_word_embeddings", True)}


def _rotary(model_type: str, values: ConfigValues, family: Family, *, is_text_part: bool) -> DecoderConfig:
    """Llama and all that is built like it."""
    values.refuse("use_bidirectional_attention")
    heads, hidden_size = values.size("num_attention_heads"), values.size("hidden_size")
    head_dim = values.size("head_dim", or_else=hidden_size // heads)
    if head_dim % 2:
        raise InvalidModelConfig("head_dim", head_dim, "an even number, for rotary pairs")
    has_scalar = values.get("query_pre_attn_scalar") is not None
    attention_bias = values.flag("attention_bias")
    return DecoderConfig(
        model_type=model_type,
        is_text_part=is_text_part,
        block=family.block,
        vocab_size=values.size("vocab_size"),
        hidden_size=hidden_size,
        inner_size=values.size("intermediate_size"),
        layers=values.size("num_hidden_layers"),
        heads=heads,
        kv_heads=values.size("num_key_value_heads", or_else=heads),
        head_dim=head_dim,
        norm=family.norm,
        norm_eps=values.positive("rms_norm_eps"),
        activation=values.one_of(family.activation_key, ACTIVATIONS),
        layer_kinds=family.layer_kinds(values),
        positions=None,
        embedding_scale=hidden_size**0.5 if family.scales_embedding else 1.0,
        query_scale=(values.positive("query_pre_attn_scalar") if has_scalar else head_dim) ** -0.5,
        attention_cap=values.optional_positive("attn_logit_softcapping") if family.caps_attention else None,
        logit_cap=values.optional_positive("final_logit_softcapping") if family.caps_logits else None,
        tied_head=values.flag("tie_word_embeddings"),
        qkv_bias=family.qkv_bias or attention_bias,
        output_bias=family.takes_attention_bias and attention_bias,
        mlp_bias=values.flag("mlp_bias"),
        qk_norm=family.qk_norm,
    )


def _gpt2(model_type: str, values: ConfigValues, family: Family, *, is_text_part: bool) -> DecoderConfig:
    """GPT-2, which has its own names for everything."""
    # reorder_and_upcast_attn is another order of the same arithmetic, and dropout rates are the trainer's business.
    values.refuse("scale_attn_by_inverse_layer_idx", "add_cross_attention")
    heads, hidden_size = values.size("n_head"), values.size("n_embd")
    if hidden_size % heads:
        raise InvalidModelConfig("n_head", heads, f"a divisor of n_embd {hidden_size}")
    return DecoderConfig(
        model_type=model_type,
        is_text_part=is_text_part,
        block=family.block,
        vocab_size=values.size("vocab_size"),
        hidden_size=hidden_size,
        inner_size=values.size("n_inner", or_else=4 * hidden_size),
        layers=values.size("n_layer"),
        heads=heads,
        kv_heads=heads,
        head_dim=hidden_size // heads,
        norm=family.norm,
        norm_eps=values.positive("layer_norm_epsilon"),
        activation=values.one_of("activation_function", ACTIVATIONS),
        layer_kinds=family.layer_kinds(values),
        positions=values.size("n_positions"),
        embedding_scale=1.0,
        query_scale=(hidden_size // heads) ** -0.5 if values.flag("scale_attn_weights") else 1.0,
        attention_cap=None,
        logit_cap=None,
        tied_head=values.flag("tie_word_embeddings"),
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        qk_norm=False,
    )
