"""The tokenizer inside a GGUF file, as tokenizer.json, tokenizer_config.json and chat_template.jinja."""

import json
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL_TOKEN = 3
"""GGUF's token type of special tokens."""


def write_tokenizer(reader: GGUFReader, out_dir: Path) -> None:
    """Write the three files a Hugging Face tokenizer consists of."""

    def value(key: str) -> Any:
        return reader.fields[f"tokenizer.{key}"].contents()

    tokens: list[str] = value("ggml.tokens")
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in value("ggml.merges")],
        )
    )
    # What llama.cpp calls the pre-tokenizer `smollm`.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, value("ggml.token_type"), strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(out_dir / "tokenizer.json"))

    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[value("ggml.bos_token_id")],
        "eos_token": tokens[value("ggml.eos_token_id")],
        "pad_token": tokens[value("ggml.padding_token_id")],
        "unk_token": tokens[value("ggml.unknown_token_id")],
        "model_max_length": 8192,
    }
    (out_dir / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out_dir / "chat_template.jinja").write_text(value("chat_template"))
