"""config.json in its several spellings."""

from typing import Any

import pytest

from aft_worker.model.config import Rope, parse_config

SIZES = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
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
    assert parse_config(SIZES | spelling).rope == expected


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
        ({"model_type": "qwen2", "num_key_value_heads": 2, "sliding_window": 64}, "sliding_window", None),
        ({"model_type": "qwen3", "num_key_value_heads": 2}, "head_dim", 128),
        ({"model_type": "qwen3", "num_key_value_heads": 2}, "qk_norm", True),
        ({"model_type": "mistral", "num_key_value_heads": 2}, "sliding_window", 4096),
        ({"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": None}, "sliding_window", None),
        ({"sliding_window": 64}, "sliding_window", None),
    ],
)
def test_family_says_what_the_file_leaves_out(given: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(parse_config(SIZES | given), field) == expected
