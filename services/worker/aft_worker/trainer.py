"""Trainer: everything of a run but its state, so that any step can be taken from any state."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from aft_contracts import Batch, RunSpec, SampleRecord, Schedule, StepRecord, clip_norm, learning_rate
from aft_worker.data.batches import BatchSource, TokenBatch
from aft_worker.data.encoder import RowEncoder, load_encoder
from aft_worker.data.errors import TokenizerUnusable
from aft_worker.data.packing import packed_lines
from aft_worker.data.plan import DataPlan
from aft_worker.data.table import TokenTable, load_held_out_tables, load_training_tables
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.train.errors import refuse_uneven
from aft_worker.train.gradients import Lines
from aft_worker.train.state import TrainState
from aft_worker.train.step import StepInputs, StepOutputs, TrainStep, withheld_of


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A loaded model, its data and its compiled step."""

    spec: RunSpec
    mesh: Mesh
    model: LoadedModel
    batches: BatchSource
    held_out: Mapping[str, TokenTable]
    """Held-out rows by domain."""
    train_step: TrainStep
    clock: Callable[[], float]
    """Seconds, for measuring steps."""

    def advance(
        self, state: TrainState, step: int, schedule: Schedule, masked: frozenset[str] = frozenset()
    ) -> tuple[TrainState, StepRecord]:
        """The state after `step`, and what the step measured; `state` is consumed.

        Samples in `masked` are padding alone; all else in their batch stays what it was.
        """
        started = self.clock()
        batch = self.batches.batch_at(step, schedule, masked)
        lr, max_norm = (rate(self.spec.optim, schedule, step) for rate in (learning_rate, clip_norm))
        inputs = StepInputs(
            lines=_lines(batch, self._sample_keys(batch, step)),
            learning_rate=lr,
            clip_norm=max_norm,
            skip=step in schedule.skipped_steps,
            rearm=schedule.armed_from(step) == step,
        )
        state, outputs = self.train_step(state, inputs)
        # Fetching waits for the step to end, so the time is the step's and not that of handing it over.
        measured = jax.device_get(outputs)
        seconds = self.clock() - started
        return state, _record(batch, measured, step=step, lr=lr, clip_norm=max_norm, seconds=seconds)

    def _sample_keys(self, batch: TokenBatch, step: int) -> NDArray[np.uint32] | None:
        lora = self.spec.model.lora
        has_noise = lora is not None and lora.dropout > 0
        return batch.sample_keys(self.spec.seed, step) if has_noise else None


OpenTrainer = Callable[[RunSpec, Mesh], Trainer]
"""How a worker comes by the trainer of a run."""


def _lines(batch: Batch, sample_keys: Any) -> Lines:
    return Lines(tokens=batch.tokens, loss_weights=batch.loss_weights, segments=batch.segments, sample_keys=sample_keys)


def load_trainer(spec: RunSpec, mesh: Mesh, *, clock: Callable[[], float] = time.perf_counter) -> Trainer:
    """Reads the model and all data of a run.

    Raises:
        WorkerError: anything that is wrong with spec, model or data, in words.
    """
    refuse_uneven(spec.optim.batch_size, devices=mesh.shape["data"], parts=spec.optim.accumulation_steps)
    path = Path(spec.model.path)
    model = load_model(
        path, lora=spec.model.lora, seed=spec.seed, mesh=mesh, compute=spec.model.compute, remat=spec.model.remat
    )
    model.config.refuse_longer_than_positions(spec.data.max_length)
    encoder = load_encoder(path, max_length=spec.data.max_length)
    tables = load_training_tables(spec.data, encoder)
    held_out = load_held_out_tables(spec.data, encoder)
    for table in [*tables.values(), *held_out.values()]:
        _refuse_unknown_tokens(table, encoder, model)
    batches = _batch_source(spec, tables)
    return Trainer(
        spec=spec,
        mesh=mesh,
        model=model,
        batches=batches,
        held_out=held_out,
        train_step=TrainStep(model, spec.optim, spec.detection, mesh, packed=batches.packed),
        clock=clock,
    )


def _batch_source(spec: RunSpec, tables: Mapping[str, TokenTable]) -> BatchSource:
    lines = None
    if spec.data.packing:
        lines = {
            name: packed_lines(
                np.diff(table.starts).tolist(), capacity=spec.data.max_length, most_rows=spec.data.max_packed_rows
            )
            for name, table in tables.items()
        }
    plan = DataPlan(
        seed=spec.seed,
        sample_ids={name: table.sample_ids for name, table in tables.items()},
        weights={name: domain.weight for name, domain in spec.data.domains.items()},
        batch_size=spec.optim.batch_size,
        lines=lines,
    )
    # As many places as the fullest line needs: each costs memory, even when it stays empty.
    packed = max((len(line) for domain in (lines or {}).values() for line in domain), default=1)
    return BatchSource(plan, tables, max_length=spec.data.max_length, packed=packed)


def _refuse_unknown_tokens(table: TokenTable, encoder: RowEncoder, model: LoadedModel) -> None:
    # JAX clamps an index that is out of range, so a foreign tokenizer would train on wrong tokens without a word.
    largest = int(table.tokens.max(initial=0))
    if largest >= model.config.vocab_size:
        word = encoder.tokenizer.id_to_token(largest)
        raise TokenizerUnusable(
            f"The tokenizer makes token {largest} ({word!r}), but the model's vocab_size is {model.config.vocab_size}; "
            "are tokenizer.json and config.json from the same model?"
        )


def _record(
    batch: TokenBatch, measured: StepOutputs, *, step: int, lr: float, clip_norm: float, seconds: float
) -> StepRecord:
    losses, grad_norms, accuracies, tokens = (
        figures.tolist()
        for figures in (
            measured.sample_loss,
            measured.sample_grad_norm,
            measured.sample_accuracy,
            measured.sample_tokens,
        )
    )
    samples = tuple(
        SampleRecord(
            sample_id=sample_id,
            domain=domain,
            loss=losses[place],
            grad_norm=grad_norms[place],
            accuracy=accuracies[place],
            tokens=tokens[place],
            repetition=repetition,
        )
        for sample_id, domain, place, repetition in zip(
            batch.sample_id, batch.domain, batch.place, batch.repetition, strict=True
        )
    )
    return StepRecord(
        step=step,
        loss=float(measured.loss),
        grad_norm=float(measured.grad_norm),
        update_rms=float(measured.update_rms) if measured.applied else None,
        lr=lr,
        clip_norm=clip_norm,
        tokens=sum(sample.tokens for sample in samples),
        applied=bool(measured.applied),
        withheld=withheld_of(int(measured.withheld)),
        seconds=seconds,
        samples=samples,
    )
