"""A complete Hugging Face model directory with random weights, small enough for tests and for trying aft out."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from examples.tiny_families import norm_mean, tensor_shapes, tiny_config

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_tiny_model(
    out_dir: Path, *, vocab: int = 264, seed: int = 0, model_type: str = "llama", **config_overrides: Any
) -> Path:
    """A random two-layer model over single bytes in `out_dir`, a Llama unless `model_type` says otherwise.

    `config_overrides` replace keys of its config.json.
    """
    if vocab < 256 + len(SPECIAL_TOKENS):
        raise ValueError(f"vocab is {vocab}; 256 bytes and {len(SPECIAL_TOKENS)} special tokens need at least 259")
    out_dir.mkdir(parents=True, exist_ok=True)
    config = tiny_config(model_type) | {"vocab_size": vocab} | config_overrides
    (out_dir / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(_random_weights(config, seed), out_dir / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(out_dir)
    return out_dir


def _random_weights(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    scales = norm_mean(config["model_type"])

    def mean(name: str) -> float:
        return scales if re.search(r"(norm|ln_.)\.weight$", name) else 0.0

    return {
        name: (rng.normal(mean(name), 0.1, shape)).astype(np.float32) for name, shape in tensor_shapes(config).items()
    }


def _write_tokenizer(out_dir: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.save(str(out_dir / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 256,
    }
    (out_dir / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")
    (out_dir / "chat_template.jinja").write_text(CHAT_TEMPLATE)
