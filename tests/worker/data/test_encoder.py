"""From rows to tokens: which characters carry loss under which template."""

from pathlib import Path

import pytest

from aft_worker.data.content import Chat, Completion, Text
from aft_worker.data.encoder import Encoded, RowEncoder, load_encoder
from aft_worker.data.errors import TokenizerUnusable

CHAT = Chat(
    messages=(
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hé?"},
        {"role": "assistant", "content": "yes ✓"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "no"},
    )
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


def test_a_given_prompt_of_messages_carries_no_loss(encoder: RowEncoder) -> None:
    given = Chat(messages=CHAT.messages, prompt_turns=3)
    assert learned(encoder, encoder.encode(given)) == "no<|im_end|>\n"


def test_the_texts_of_the_tokens_make_up_the_row(encoder: RowEncoder) -> None:
    for content in (CHAT, Completion(prompt="1 + é =", completion=" ✓"), Text(text="hé ✓")):
        texts = encoder.token_texts(content)
        assert len(texts) == len(encoder.encode(content).tokens)
        whole = encoder.template.render(CHAT.messages) if content is CHAT else None
        expected = {"Completion": "1 + é = ✓<|im_end|>", "Text": "hé ✓<|im_end|>"}.get(type(content).__name__, whole)
        assert "".join(texts) == expected


def test_a_cut_row_knows_its_length(tiny_model_dir: Path) -> None:
    short = load_encoder(tiny_model_dir, max_length=8)
    assert (short.encode(Text(text="x" * 50)).uncut_tokens, len(short.token_texts(Text(text="x" * 50)))) == (51, 8)
    assert short.encode(Text(text="x")).uncut_tokens == 2


def test_a_tokenizer_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokenizerUnusable, match="does not exist"):
        load_encoder(tmp_path, max_length=8)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerUnusable, match="cannot be read"):
        load_encoder(tmp_path, max_length=8)
