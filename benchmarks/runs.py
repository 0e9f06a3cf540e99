"""The runs that benchmarks measure: real English text, cut so that every row fills its line, and no evaluation."""

import json
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from aft_contracts import DataSpec, DomainSpec, LoraSpec, ModelSpec, OptimSpec, RunSpec
from aft_worker.model.mesh import make_mesh
from aft_worker.trainer import Trainer, load_trainer
from benchmarks.models import CACHE, model_dir

CHARACTERS_A_TOKEN = 6
"""More than any tokenizer here needs, so that rows are cut to length and never padded."""
STEPS = 1_000_000
"""Steps of a run: more than any benchmark takes, so that its learning rate hardly moves."""


def run_spec(model: str, *, batch_size: int, length: int, lora: bool, **fields: Any) -> RunSpec:
    """The spec of a run over Python's own manual; `lora` means rank 8 on all linear layers, else all is trained."""
    return RunSpec(
        model=ModelSpec(path=str(model_dir(model)), lora=LoraSpec(rank=8) if lora else None),
        data=DataSpec(domains={"manual": DomainSpec(path=str(text_file(length)))}, max_length=length),
        optim=OptimSpec(steps=STEPS, batch_size=batch_size),
        **fields,
    )


def open_trainer(model: str, *, batch_size: int, length: int, lora: bool) -> Trainer:
    """The trainer of such a run."""
    return load_trainer(run_spec(model, batch_size=batch_size, length=length, lora=lora), make_mesh())


def text_file(length: int) -> Path:
    """JSONL of rows that are at least `length` tokens long; the text is in every Python's standard library."""
    path = CACHE / f"manual-{length}.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(json.dumps({"id": f"m{i}", "text": text}) + "\n" for i, text in enumerate(_cut(length)))
        )
    return path


def _cut(length: int) -> Iterator[str]:
    text = "\n".join(topics.values())
    size = CHARACTERS_A_TOKEN * length
    return (text[start : start + size] for start in range(0, len(text) - size, size))
