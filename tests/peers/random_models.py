"""Random tiny models of every family, built and saved by transformers."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

VOCAB = 90
TOKENS = 40
Values = dict[str, Any]


def draw_config(family: str, seed: int) -> PreTrainedConfig:
    """A configuration of the family with unusual settings; the same seed gives the same one."""
    return FAMILIES[family](random.Random(f"{family} {seed}"))


def write_model(config: PreTrainedConfig, out_dir: Path, *, seed: int = 0) -> PreTrainedModel:
    """A model with random weights, saved to `out_dir` as transformers saves it."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # transformers starts norms at one or zero and biases at zero, which would hide one left out.
            if "norm" in name or "ln_" in name or name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(out_dir)
    return model


def draw_tokens(seed: int = 0, rows: int = 2) -> np.ndarray:
    """Random tokens that every model here knows."""
    return np.random.default_rng(seed).integers(0, VOCAB, (rows, TOKENS)).astype(np.int32)


def logits_of_peer(model: Any, tokens: np.ndarray) -> np.ndarray:
    """What the PyTorch model says of `tokens`."""
    with torch.no_grad():
        return model(torch.tensor(tokens, dtype=torch.long)).logits.numpy()


def _sizes(draw: random.Random, *, layers: int = 3) -> Values:
    kv_heads = draw.choice([1, 2, 3])
    heads = kv_heads * draw.choice([1, 2, 3])
    return {
        "vocab_size": VOCAB,
        # transformers insists on a multiple of heads; a head need not be hidden_size / heads wide for that.
        "hidden_size": heads * draw.choice([3, 4, 7]),
        "intermediate_size": draw.choice([14, 24, 33]),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": draw.choice([6, 10, 20]),
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "rms_norm_eps": draw.choice([1e-6, 1e-5, 1e-3]),
        "tie_word_embeddings": draw.choice([True, False]),
    }


def _rope(draw: random.Random) -> Values:
    theta = draw.choice([100.0, 1e4, 5e5])
    return draw.choice(
        [
            {"rope_type": "default", "rope_theta": theta},
            {"rope_type": "linear", "rope_theta": theta, "factor": draw.choice([2.0, 8.0])},
            {
                "rope_type": "llama3",
                "rope_theta": theta,
                "factor": draw.choice([4.0, 32.0]),
                "low_freq_factor": 1.0,
                "high_freq_factor": draw.choice([2.0, 4.0]),
                "original_max_position_embeddings": 16,
            },
        ]
    )


def _layer_types(draw: random.Random, layers: int) -> list[str] | None:
    """Mixed types, or None for what the family does by itself."""
    mixed = [draw.choice(["sliding_attention", "full_attention"]) for _ in range(layers)]
    return draw.choice([None, mixed])


def _llama(draw: random.Random) -> PreTrainedConfig:
    return transformers.LlamaConfig(
        **_sizes(draw),
        rope_parameters=_rope(draw),
        attention_bias=draw.choice([True, False]),
        mlp_bias=draw.choice([True, False]),
        hidden_act=draw.choice(["silu", "gelu", "relu"]),
    )


def _smollm3(draw: random.Random) -> PreTrainedConfig:
    sizes = _sizes(draw, layers=4)
    sizes["head_dim"] = draw.choice([6, 10])
    sizes["hidden_size"] = sizes["num_attention_heads"] * sizes["head_dim"]
    windowed = draw.choice([{}, {"use_sliding_window": True, "sliding_window": 6}])
    turned = draw.choice([{"no_rope_layer_interval": 2}, {"no_rope_layers": [1, 0, 0, 1]}, {}])
    return transformers.SmolLM3Config(
        **sizes, **windowed, **turned, rope_parameters=_rope(draw), pad_token_id=0, bos_token_id=1, eos_token_id=2
    )


def _mistral(draw: random.Random) -> PreTrainedConfig:
    return transformers.MistralConfig(
        **_sizes(draw), rope_parameters=_rope(draw), sliding_window=draw.choice([None, 1, 7, 1000])
    )


def _qwen(config_class: Callable[..., PreTrainedConfig], draw: random.Random) -> PreTrainedConfig:
    sizes = _sizes(draw, layers=4)
    use_window = draw.choice([True, True, False])
    return config_class(
        **sizes,
        rope_parameters=_rope(draw),
        use_sliding_window=use_window,
        sliding_window=draw.choice([3, 9]),
        max_window_layers=draw.choice([0, 2, 4]),
        layer_types=_layer_types(draw, 4) if use_window else None,
    )


def _qwen3(draw: random.Random) -> PreTrainedConfig:
    config = _qwen(transformers.Qwen3Config, draw)
    config.attention_bias = draw.choice([True, False])
    return config


def _gemma(draw: random.Random) -> Values:
    return {
        **_sizes(draw, layers=4),
        "query_pre_attn_scalar": draw.choice([5, 16, 144]),
        "sliding_window": draw.choice([3, 9]),
        "layer_types": _layer_types(draw, 4),
        "final_logit_softcapping": draw.choice([None, 3.0, 30.0]),
        "attention_bias": draw.choice([True, False]),
        "hidden_activation": draw.choice(["gelu_pytorch_tanh", "gelu"]),
    }


def _gemma2(draw: random.Random) -> PreTrainedConfig:
    cap = draw.choice([None, 2.0, 50.0])
    return transformers.Gemma2Config(**_gemma(draw), rope_parameters=_rope(draw), attn_logit_softcapping=cap)


def _gemma3(draw: random.Random) -> PreTrainedConfig:
    ropes = {"full_attention": _rope(draw), "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}
    values = _gemma(draw)
    pattern = {} if values["layer_types"] else {"sliding_window_pattern": draw.choice([2, 3])}
    return transformers.Gemma3TextConfig(**values, **pattern, rope_parameters=ropes)


def _gpt2(draw: random.Random) -> PreTrainedConfig:
    heads = draw.choice([1, 2, 5])
    return transformers.GPT2Config(
        vocab_size=VOCAB,
        n_embd=heads * draw.choice([5, 6, 7]),
        n_layer=3,
        n_head=heads,
        n_inner=draw.choice([None, 17]),
        n_positions=TOKENS,
        initializer_range=0.3,
        activation_function=draw.choice(["gelu_new", "relu", "gelu"]),
        layer_norm_epsilon=draw.choice([1e-5, 1e-3]),
        scale_attn_weights=draw.choice([True, False]),
        tie_word_embeddings=draw.choice([True, False]),
        bos_token_id=0,
        eos_token_id=0,
    )


FAMILIES: dict[str, Callable[[random.Random], PreTrainedConfig]] = {
    "llama": _llama,
    "smollm3": _smollm3,
    "mistral": _mistral,
    "qwen2": lambda draw: _qwen(transformers.Qwen2Config, draw),
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "gpt2": _gpt2,
}
