"""Where models keep their chat templates, old places and new."""

import json
from pathlib import Path
from typing import Any

import pytest

from aft_worker.data.encoder import load_encoder
from aft_worker.data.errors import TokenizerUnusable
from aft_worker.data.template_files import load_chat_template
from examples.tiny_model import write_tiny_model


def rendered(folder: Path, **tokenizer_config: Any) -> str:
    return load_chat_template(folder, tokenizer_config).render([])


def test_a_model_without_a_template_gets_the_plain_one(tmp_path: Path) -> None:
    template = load_chat_template(tmp_path, {"eos_token": {"content": "</s>"}})
    assert template.render([{"role": "assistant", "content": "hi"}]) == "assistant: hi</s>\n"


@pytest.mark.parametrize(
    "given",
    [
        "D",
        {"default": "D", "tool_use": "T"},
        [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}],
    ],
    ids=["text", "mapping", "list"],
)
def test_the_tokenizers_config_holds_one_template_or_several(tmp_path: Path, given: Any) -> None:
    assert rendered(tmp_path, chat_template=given) == "D"


def test_a_file_beside_goes_before_the_config(tmp_path: Path) -> None:
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/rag.jinja").write_text("R")
    assert rendered(tmp_path, chat_template="inside") == "inside"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "older"}))
    assert rendered(tmp_path, chat_template="inside") == "older"
    (tmp_path / "chat_template.jinja").write_text("beside")
    assert rendered(tmp_path, chat_template="inside") == "beside"


def test_several_templates_without_a_default_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/rag.jinja").write_text("R")
    with pytest.raises(TokenizerUnusable, match=r"\['rag', 'tool_use'\] and none that is named `default`"):
        rendered(tmp_path, chat_template={"tool_use": "T"})
    (tmp_path / "additional_chat_templates/default.jinja").write_text("D")
    assert rendered(tmp_path, chat_template={"tool_use": "T"}) == "D"


@pytest.mark.parametrize("given", [5, ["D"], [{"name": "default"}], {"default": 5}])
def test_a_template_of_another_form_is_an_error(tmp_path: Path, given: Any) -> None:
    with pytest.raises(TokenizerUnusable, match="must be a text, a mapping of names to texts, or a list"):
        rendered(tmp_path, chat_template=given)


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text("{")
    with pytest.raises(TokenizerUnusable, match="is not JSON"):
        rendered(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(TokenizerUnusable, match="is not UTF-8"):
        rendered(tmp_path)


def test_the_encoder_finds_template_and_end_of_text(tmp_path: Path) -> None:
    model_dir = write_tiny_model(tmp_path, num_hidden_layers=1)
    (model_dir / "chat_template.jinja").unlink()
    config = json.loads((model_dir / "tokenizer_config.json").read_text())
    talk = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hé?"}]
    assert load_encoder(model_dir, max_length=8).template.render(talk) == "<|im_start|>system: be kind\nuser: hé?\n"
    config |= {"chat_template": [{"name": "default", "template": "D"}], "eos_token": {"content": "<|endoftext|>"}}
    (model_dir / "tokenizer_config.json").write_text(json.dumps(config))
    encoder = load_encoder(model_dir, max_length=8)
    assert (encoder.template.render([]), encoder.eos_id) == ("D", 0)
