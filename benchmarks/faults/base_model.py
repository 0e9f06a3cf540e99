"""The base model: a two-layer Llama that has read the standard library's documentation strings; made once and kept."""

import json
import os
import shutil
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from aft_contracts import DataSpec, DomainSpec, ModelSpec, OptimSpec, RunSpec, Schedule
from aft_worker.export.merged import write_merged
from aft_worker.model.mesh import make_mesh
from aft_worker.train.state import init_state
from aft_worker.trainer import load_trainer
from benchmarks.command import say
from benchmarks.faults.text import manual
from benchmarks.faults.version import model_version
from benchmarks.models import CACHE
from examples.tiny_model import SPECIAL_TOKENS, write_tiny_model

FOLDER = CACHE / "faults"
VOCABULARY = 1024
LENGTH = 64
"""Tokens a row, in this model's training and in every run."""
PRETRAIN = OptimSpec(steps=3000, batch_size=16, learning_rate=3e-3, warmup_steps=100)


def base_model() -> Path:
    """The model's directory in Hugging Face format."""
    finished = FOLDER / f"base-{model_version()}"
    if finished.exists():
        return finished
    blank = FOLDER / f"blank-{os.getpid()}"
    write_tiny_model(
        blank,
        vocab=VOCABULARY,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    tokenizer().save(str(blank / "tokenizer.json"))
    rows = blank / "manual.jsonl"
    rows.write_text("".join(json.dumps({"id": f"m{i}", "text": text}) + "\n" for i, text in enumerate(manual())))
    _pretrain(blank, rows, blank / "finished")
    if not finished.exists():  # another process may have been quicker
        (blank / "finished").rename(finished)
    shutil.rmtree(blank)
    return finished


@cache
def tokenizer() -> Tokenizer:
    """Byte-level BPE, its merges learned from the same text, so that any text can be written in it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        manual(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def _pretrain(blank: Path, rows: Path, finished: Path) -> None:
    spec = RunSpec(
        model=ModelSpec(path=str(blank), lora=None),
        data=DataSpec(domains={"manual": DomainSpec(path=str(rows))}, max_length=LENGTH),
        optim=PRETRAIN,
    )
    trainer = load_trainer(spec, make_mesh())
    state = init_state(trainer.model, spec.optim, spec.detection)
    for step in range(PRETRAIN.steps):
        state, record = trainer.advance(state, step, Schedule())
        if step % 500 == 0:
            say(f"pre-training, step {step}: {record.loss:.3f} nats")
    write_merged(trainer.model, state.trainable, spec.model, finished)
