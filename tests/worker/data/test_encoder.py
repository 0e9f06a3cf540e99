"""From rows to tokens: which characters carry loss under which template."""

import json
from pathlib import Path

import pytest

from aft_worker.data.chat_template import ChatTemplate, UnrenderableChat
from aft_worker.data.content import Chat, Completion, Text
from aft_worker.data.encoder import Encoded, RowEncoder, load_encoder
from aft_worker.data.errors import TokenizerUnusable
from aft_worker.data.template_files import PLAIN_TEMPLATE
from examples.tiny_model import write_tiny_model

CHAT = Chat(
    messages=(
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hé?"},
        {"role": "assistant", "content": "yes ✓"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "no"},
    )
)
QWEN3_LIKE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content }}<|im_end|>{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)
TAGGED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}[{{ m.role }}]{{ m.content }}[/]{% endif %}{% endfor %}"
)


@pytest.fixture
def encoder(tiny_model_dir: Path) -> RowEncoder:
    return load_encoder(tiny_model_dir, max_length=200)


def learned(encoder: RowEncoder, encoded: Encoded) -> str:
    """The text of the tokens that carry loss; runs of them are set apart by a bar."""
    words, before = "", True
    for token, is_target in zip(encoded.tokens.tolist(), encoded.is_target.tolist(), strict=True):
        words += "" if before or not is_target else "|"
        words += encoder.tokenizer.id_to_token(token) if is_target else ""
        before = is_target
    raw = words.replace("Ċ", "\n").replace("Ġ", " ")
    return raw.lstrip("|")


def spoken(template: ChatTemplate, chat: Chat = CHAT) -> list[str]:
    text, spans = template.assistant_spans(chat.messages)
    return [text[start:end] for start, end in spans]


def test_a_chat_carries_loss_on_the_assistants_turns_alone(encoder: RowEncoder) -> None:
    encoded = encoder.encode(CHAT)
    bytes_of_check = "âľĵ"
    assert learned(encoder, encoded) == f"yes {bytes_of_check}<|im_end|>\n|no<|im_end|>\n"
    whole = encoder.tokenizer.decode(encoded.tokens.tolist(), skip_special_tokens=False)
    assert whole == encoder.template.render(CHAT.messages)


def test_a_prompt_carries_no_loss_and_the_answer_ends(encoder: RowEncoder) -> None:
    encoded = encoder.encode(Completion(prompt="1 + 1 =", completion=" 2"))
    assert learned(encoder, encoded) == " 2<|im_end|>"


def test_plain_text_carries_loss_but_for_its_first_token(encoder: RowEncoder) -> None:
    assert learned(encoder, encoder.encode(Text(text="hello"))) == "ello<|im_end|>"


def test_long_rows_are_cut(tiny_model_dir: Path) -> None:
    encoded = load_encoder(tiny_model_dir, max_length=8).encode(Text(text="x" * 50))
    assert (encoded.tokens.shape, int(encoded.is_target.sum())) == ((8,), 7)


@pytest.mark.parametrize(
    ("source", "turns"),
    [
        (PLAIN_TEMPLATE, [" yes ✓</s>\n", " no</s>\n"]),
        (QWEN3_LIKE, ["yes ✓<|im_end|>\n", "<think>\n\n</think>\n\nno<|im_end|>\n"]),
        (TAGGED, ["yes ✓</s>", "no</s>"]),
    ],
    ids=["plain", "last turn differs", "generation tags"],
)
def test_assistant_turns_are_traced_in_any_template(source: str, turns: list[str]) -> None:
    assert spoken(ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})) == turns


def test_a_chat_that_the_assistant_opens_is_traced_too() -> None:
    opening = Chat(messages=({"role": "assistant", "content": "hello"}, {"role": "user", "content": "hi"}))
    assert spoken(ChatTemplate(QWEN3_LIKE, {}), opening) == ["hello<|im_end|>\n"]


def test_a_templates_refusal_and_a_lost_turn_are_told() -> None:
    refusing = ChatTemplate("{{ raise_exception('no system role') }}", {})
    with pytest.raises(UnrenderableChat, match="no system role"):
        refusing.render(CHAT.messages)
    losing = ChatTemplate("{{ messages[-1].role }}", {})
    with pytest.raises(UnrenderableChat, match="turn 2"):
        losing.assistant_spans(CHAT.messages)


def test_templates_render_the_same_on_any_day_and_cannot_reach_out() -> None:
    assert ChatTemplate("{{ strftime_now('%d %b %Y') }}", {}).render([]) == "26 Jul 2024"
    with pytest.raises(UnrenderableChat):
        ChatTemplate("{{ messages.__class__.__mro__ }}", {}).render([])
    assert ChatTemplate("{{ {'é': '<'} | tojson }}", {}).render([]) == '{"é": "<"}'


def test_the_template_is_found_beside_or_inside_the_tokenizer_config(tmp_path: Path) -> None:
    model_dir = write_tiny_model(tmp_path, num_hidden_layers=1)
    (model_dir / "chat_template.jinja").unlink()
    config = json.loads((model_dir / "tokenizer_config.json").read_text())
    assert load_encoder(model_dir, max_length=8).template.render(CHAT.messages[:2]) == (
        "<|im_start|>system: be kind\nuser: hé?\n"
    )
    config |= {"chat_template": [{"name": "default", "template": "D"}], "eos_token": {"content": "<|endoftext|>"}}
    (model_dir / "tokenizer_config.json").write_text(json.dumps(config))
    encoder = load_encoder(model_dir, max_length=8)
    assert (encoder.template.render([]), encoder.eos_id) == ("D", 0)


def test_a_tokenizer_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokenizerUnusable, match="does not exist"):
        load_encoder(tmp_path, max_length=8)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerUnusable, match="cannot be read"):
        load_encoder(tmp_path, max_length=8)
