"""A tiny random model and a small text to train it on."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from examples.tiny_model import write_tiny_model

WORDS = ("run", "held", "until", "samples", "behind", "fault", "found", "taken", "out", "of", "plan")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sentence(seed: int) -> str:
    """A sentence of known words, a pure function of the seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=6))


def rows(count: int) -> list[dict[str, Any]]:
    """Plain rows with ids of their own."""
    return [{"id": f"row-{number:03d}", "text": sentence(number)} for number in range(count)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama."""
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers of this session keep what JAX has compiled."""
    return tmp_path_factory.mktemp("jax")


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Any]:
    """A run of a few seconds on 96 clean rows."""
    folder = tmp_path_factory.mktemp("data")
    return {
        "name": "acceptance",
        "model": {"path": str(tiny_model), "lora": {"rank": 2}},
        "data": {
            "domains": {"plain": {"path": str(write_rows(folder / "train.jsonl", rows(96)))}},
            "evaluation": {"plain": str(write_rows(folder / "held_out.jsonl", rows(104)[96:]))},
            "max_length": 48,
        },
        "optim": {"steps": 40, "batch_size": 4, "learning_rate": 5e-3, "warmup_steps": 4},
        "window": {"steps": 10},
        "seed": 7,
    }
