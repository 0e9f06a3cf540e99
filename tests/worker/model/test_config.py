"""config.json in its several spellings."""

import re
from dataclasses import replace
from typing import Any

import pytest

from aft_worker.model.config import Rope
from aft_worker.model.config_file import parse_config
from aft_worker.model.errors import InvalidModelConfig

SIZES = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
SLIDING, FULL = "sliding_attention", "full_attention"
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA3_ROPE = Rope(theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_positions=8192)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ({}, Rope(theta=1e4)),
        ({"rope_theta": 5e5}, Rope(theta=5e5)),
        ({"rope_theta": 5e5, "rope_scaling": None}, Rope(theta=5e5)),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, Rope(theta=5e5)),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}, Rope(theta=5e5, factor=2.0)),
        ({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}, LLAMA3_ROPE),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", **LLAMA3}}, LLAMA3_ROPE),
    ],
)
def test_both_spellings_of_rope_are_read(spelling: dict[str, Any], expected: Rope) -> None:
    assert {kind.rope for kind in parse_config(SIZES | spelling).layer_kinds} == {expected}


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({}, "kv_heads", 4),
        ({}, "head_dim", 8),
        ({"head_dim": None}, "head_dim", 8),
        ({"head_dim": 16}, "head_dim", 16),
        ({}, "tied_head", False),
        ({"attention_bias": True}, "output_bias", True),
        ({"model_type": "qwen2", "num_key_value_heads": 2}, "qkv_bias", True),
        ({"model_type": "qwen2", "num_key_value_heads": 2}, "output_bias", False),
        ({"model_type": "qwen3", "num_key_value_heads": 2}, "head_dim", 128),
        ({"model_type": "qwen3", "num_key_value_heads": 2}, "qk_norm", True),
        ({"model_type": "gemma2"}, "query_scale", 256**-0.5),
        ({"model_type": "gemma2"}, "attention_cap", 50.0),
        ({"model_type": "gemma2"}, "logit_cap", 30.0),
        ({"model_type": "gemma2", "final_logit_softcapping": None}, "logit_cap", None),
        ({"model_type": "gemma2"}, "embedding_scale", 32**0.5),
        ({"model_type": "gemma2"}, "tied_head", True),
        # transformers reads it for Gemma 3 too, and does nothing with it.
        ({"model_type": "gemma3_text", "attn_logit_softcapping": 5.0}, "attention_cap", None),
        ({"model_type": "gemma3_text"}, "head_dim", 256),
        ({}, "query_scale", 8**-0.5),
        ({}, "positions", None),
    ],
)
def test_family_says_what_the_file_leaves_out(given: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(parse_config(SIZES | given), field) == expected


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        ({"sliding_window": 64}, [None] * 4),
        ({"model_type": "mistral"}, [4096] * 4),
        ({"model_type": "mistral", "sliding_window": None}, [None] * 4),
        ({"model_type": "qwen2", "sliding_window": 64}, [None] * 4),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 3}, [None, None, None, 4096]),
        ({"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 0, "sliding_window": 8}, [8] * 4),
        (
            {"model_type": "qwen3", "use_sliding_window": True, "layer_types": [SLIDING, FULL, FULL, SLIDING]},
            [4096, None, None, 4096],
        ),
        ({"model_type": "gemma2", "sliding_window": 8}, [8, None, 8, None]),
        (
            {"model_type": "gemma2", "sliding_window": 8, "layer_types": [FULL, FULL, SLIDING, FULL]},
            [None, None, 8, None],
        ),
        ({"model_type": "gemma3_text", "sliding_window": 8, "num_hidden_layers": 7}, [8, 8, 8, 8, 8, None, 8]),
        ({"model_type": "gemma3_text", "sliding_window": 8, "sliding_window_pattern": 2}, [8, None, 8, None]),
        ({"model_type": "smollm3", "use_sliding_window": True, "sliding_window": 8}, [None, None, None, 8]),
    ],
)
def test_windows_stand_where_the_family_has_them(given: dict[str, Any], windows: list[int | None]) -> None:
    sizes = SIZES | {"num_hidden_layers": 4, "num_key_value_heads": 2}
    assert [kind.window for kind in parse_config(sizes | given).layer_kinds] == windows


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 5e5, "rope_local_base_freq": 100.0, "rope_scaling": {"type": "linear", "factor": 8.0}},
        {
            "rope_parameters": {
                FULL: {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0},
                SLIDING: {"rope_type": "default", "rope_theta": 100.0},
            }
        },
    ],
)
def test_gemma3_turns_layers_with_a_window_otherwise(spelling: dict[str, Any]) -> None:
    config = parse_config(SIZES | {"model_type": "gemma3_text", "sliding_window_pattern": 2} | spelling)
    assert [kind.rope for kind in config.layer_kinds] == [Rope(theta=100.0), Rope(theta=5e5, factor=8.0)]


def test_smollm3_leaves_some_layers_unturned() -> None:
    config = parse_config(SIZES | {"model_type": "smollm3", "no_rope_layer_interval": 2})
    assert [kind.rope for kind in config.layer_kinds] == [Rope(theta=2e6), None]


def test_text_part_of_a_multimodal_config_is_read() -> None:
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    whole = parse_config({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}})
    alone = parse_config({"model_type": "gemma3_text", **text})
    assert whole == replace(alone, is_text_part=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model_type": "gemma3", "text_config": None}, "text_config = None"),
        ({"model_type": "gemma2", "use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        ({"model_type": "gemma2", "final_logit_softcapping": -1.0}, "final_logit_softcapping = -1.0"),
        (
            {"model_type": "gemma3_text", "rope_parameters": {"rope_theta": 1e4}},
            "an entry for each of sliding_attention",
        ),
        ({"model_type": "gemma2", "rope_parameters": {FULL: {"rope_theta": 1e4}}}, "the same for all layers"),
        ({"model_type": "gemma2", "layer_types": [SLIDING]}, "one entry for each of the 2 layers"),
        ({"model_type": "gemma2", "layer_types": [SLIDING, "chunked_attention"]}, "'chunked_attention'"),
        ({"model_type": "qwen2", "num_key_value_heads": 2, "layer_types": [SLIDING, FULL]}, "sliding_window = None"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor = None"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope_type = 'longrope'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type = 'dynamic'"),
        ({"head_dim": 5}, "head_dim = 5; expected an even number"),
        (GPT2 | {"activation_function": "gelu_fast"}, "activation_function = 'gelu_fast'; expected one of"),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention = True"),
        (GPT2 | {"n_head": 3}, "n_head = 3; expected a divisor of n_embd 32"),
        (GPT2 | {"n_positions": None}, "n_positions = None"),
    ],
)
def test_what_the_decoder_does_not_do_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModelConfig, match=re.escape(message)):
        parse_config(SIZES | given)


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({}, "inner_size", 128),
        ({"n_inner": None}, "inner_size", 128),
        ({"n_inner": 20}, "inner_size", 20),
        ({}, "positions", 64),
        ({}, "activation", "gelu_new"),
        ({}, "norm_eps", 1e-5),
        ({}, "tied_head", True),
        ({}, "query_scale", 8**-0.5),
        ({"scale_attn_weights": False}, "query_scale", 1.0),
    ],
)
def test_gpt2_has_its_own_names(given: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(parse_config(GPT2 | given), field) == expected
