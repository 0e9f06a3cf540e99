"""Rows to tokens: which ids a row becomes, and which of them carry loss."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aft_worker.data.chat_template import ChatTemplate, Span
from aft_worker.data.content import Chat, Completion, Content, Text
from aft_worker.data.errors import TokenizerUnusable
from aft_worker.data.template_files import load_chat_template


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """A row's tokens, cut to length; T tokens."""

    tokens: NDArray[np.int32]
    """Token ids, [T]."""
    is_target: NDArray[np.bool_]
    """Whether each token carries loss as a target, [T]; never the first, which nothing precedes."""
    uncut_tokens: int
    """Tokens of the row before it was cut."""


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A row as text for the tokenizer, and where in it the loss is taken."""

    text: str
    spans: list[Span]
    adds_special_tokens: bool


class RowEncoder:
    """Turns rows into tokens with one model's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, *, eos_id: int | None, max_length: int) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.eos_id, self.max_length = eos_id, max_length
        tokenizer.no_truncation()
        tokenizer.no_padding()

    def encode(self, content: Content) -> Encoded:
        """The tokens of one row, at most `max_length`.

        A token carries loss if any of its characters does. Plain text and completions are closed by the end-of-text
        token, so that the model learns to stop.

        Raises:
            UnrenderableChat: the chat template cannot render the row.
        """
        written = self._written(content)
        encoding = self.tokenizer.encode(written.text, add_special_tokens=written.adds_special_tokens)
        tokens = np.asarray(encoding.ids, np.int32)
        starts, ends = np.asarray(encoding.offsets, np.int64).reshape(-1, 2).T
        is_target = np.zeros(len(tokens), np.bool_)
        for start, end in written.spans:
            is_target |= (ends > start) & (starts < end)
        if written.adds_special_tokens and self.eos_id is not None:
            if len(tokens) == 0 or tokens[-1] != self.eos_id:
                tokens, is_target = np.append(tokens, np.int32(self.eos_id)), np.append(is_target, True)
            is_target[-1] = True
        uncut_tokens = len(tokens)
        tokens, is_target = tokens[: self.max_length], is_target[: self.max_length]
        is_target[:1] = False
        return Encoded(tokens=tokens, is_target=is_target, uncut_tokens=uncut_tokens)

    def token_texts(self, content: Content) -> list[str]:
        """The text that each token of `encode` stands for; joined, they are the row's text and its special tokens.

        Of several tokens that make up one character, the first has it and the others are empty.
        """
        written = self._written(content)
        encoding = self.tokenizer.encode(written.text, add_special_tokens=written.adds_special_tokens)
        texts, told = [], 0
        for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True):
            texts.append(token if start == end else written.text[told:end])
            told = max(told, end)
        if written.adds_special_tokens and self.eos_id is not None and encoding.ids[-1:] != [self.eos_id]:
            texts.append(self.tokenizer.id_to_token(self.eos_id) or "")
        return texts[: self.max_length]

    def _written(self, content: Content) -> _Written:
        match content:
            case Chat(messages=messages, prompt_turns=given):
                text, spans = self.template.assistant_spans(messages, from_turn=given)
                # The template writes its own special tokens; the tokenizer must not add them again.
                return _Written(text=text, spans=spans, adds_special_tokens=False)
            case Completion(prompt=prompt, completion=completion):
                text = prompt + completion
                return _Written(text=text, spans=[(len(prompt), len(text))], adds_special_tokens=True)
            case Text(text=text):
                return _Written(text=text, spans=[(0, len(text))], adds_special_tokens=True)


def load_encoder(model_dir: Path, *, max_length: int) -> RowEncoder:
    """The encoder of a model in Hugging Face format.

    Raises:
        TokenizerUnusable: tokenizer.json or the chat template is missing or broken.
    """
    path = model_dir / "tokenizer.json"
    if not path.is_file():
        raise TokenizerUnusable(f"{path} does not exist; aft needs a fast tokenizer's tokenizer.json.", path=str(path))
    try:
        tokenizer = Tokenizer.from_file(str(path))
    # The library raises a bare Exception and nothing narrower.
    except Exception as error:
        raise TokenizerUnusable(f"{path} cannot be read: {error}.", path=str(path)) from error
    tokenizer_config = _json_object(model_dir / "tokenizer_config.json")
    template = load_chat_template(model_dir, tokenizer_config)
    eos_id = _eos_id(model_dir, tokenizer, template.special_tokens["eos_token"])
    return RowEncoder(tokenizer, template, eos_id=eos_id, max_length=max_length)


def _eos_id(model_dir: Path, tokenizer: Tokenizer, eos_token: str) -> int | None:
    """The end-of-text id by the tokenizer's config, else by the model's; None where neither names one."""
    if eos_token and (eos_id := tokenizer.token_to_id(eos_token)) is not None:
        return int(eos_id)
    named = _json_object(model_dir / "config.json").get("eos_token_id")
    first = named[0] if isinstance(named, list) and named else named
    return first if isinstance(first, int) else None


def _json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TokenizerUnusable(f"{path} is not JSON: {error}.", path=str(path)) from error
    return fields if isinstance(fields, dict) else {}
