"""Trainer: everything of a run but its state, so that any step can be taken from any state."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from aft_contracts import RunSpec, SampleRecord, Schedule, StepRecord
from aft_worker.data.batches import BatchSource, TokenBatch
from aft_worker.data.encoder import RowEncoder, load_encoder
from aft_worker.data.errors import TokenizerUnusable
from aft_worker.data.plan import DataPlan
from aft_worker.data.table import TokenTable, load_held_out_tables, load_training_tables
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.train.errors import BatchDoesNotDivide
from aft_worker.train.rates import clip_norm, learning_rate
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

        Samples in `masked` carry no loss; all else in their batch stays what it was.
        """
        started = self.clock()
        batch = self.batches.batch_at(step, schedule, masked)
        lr, max_norm = (rate(self.spec.optim, schedule, step) for rate in (learning_rate, clip_norm))
        inputs = StepInputs(
            tokens=jnp.asarray(batch.tokens),
            loss_weights=jnp.asarray(batch.loss_weights),
            learning_rate=jnp.float32(lr),
            clip_norm=jnp.float32(max_norm),
            skip=jnp.bool_(step in schedule.skipped_steps),
        )
        state, outputs = self.train_step(state, inputs)
        # Fetching waits for the step to end, so the time is the step's and not that of handing it over.
        measured = jax.device_get(outputs)
        seconds = self.clock() - started
        return state, _record(batch, measured, step=step, lr=lr, clip_norm=max_norm, seconds=seconds)


def load_trainer(spec: RunSpec, mesh: Mesh, *, clock: Callable[[], float] = time.perf_counter) -> Trainer:
    """Reads the model and all data of a run.

    Raises:
        WorkerError: anything that is wrong with spec, model or data, in words.
    """
    if spec.optim.batch_size % mesh.shape["data"]:
        raise BatchDoesNotDivide(spec.optim.batch_size, mesh.shape["data"])
    path = Path(spec.model.path)
    model = load_model(path, lora=spec.model.lora, seed=spec.seed, mesh=mesh)
    encoder = load_encoder(path, max_length=spec.data.max_length)
    tables = load_training_tables(spec.data, encoder)
    held_out = load_held_out_tables(spec.data, encoder)
    for table in [*tables.values(), *held_out.values()]:
        _refuse_unknown_tokens(table, encoder, model)
    plan = DataPlan(
        seed=spec.seed,
        sample_ids={name: table.sample_ids for name, table in tables.items()},
        weights={name: domain.weight for name, domain in spec.data.domains.items()},
        batch_size=spec.optim.batch_size,
    )
    return Trainer(
        spec=spec,
        mesh=mesh,
        model=model,
        batches=BatchSource(plan, tables, max_length=spec.data.max_length),
        held_out=held_out,
        train_step=TrainStep(model, spec.optim, spec.detection, mesh),
        clock=clock,
    )


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
    samples = tuple(
        SampleRecord(sample_id=sample_id, domain=domain, loss=loss, grad_norm=grad_norm, tokens=tokens)
        for sample_id, domain, loss, grad_norm, tokens in zip(
            batch.sample_id,
            batch.domain,
            measured.sample_loss.tolist(),
            measured.sample_grad_norm.tolist(),
            measured.sample_tokens.tolist(),
            strict=True,
        )
    )
    return StepRecord(
        step=step,
        loss=float(measured.loss),
        grad_norm=float(measured.grad_norm),
        lr=lr,
        clip_norm=clip_norm,
        tokens=sum(sample.tokens for sample in samples),
        applied=bool(measured.applied),
        withheld=withheld_of(int(measured.withheld)),
        seconds=seconds,
        samples=samples,
    )
