"""Compiled forms of one training step: as aft takes it, without its per-sample figures, and as others would write it.

All take the trainer's own state and inputs and end in the trainer's own optimizer, so that they differ in nothing but
how loss and gradient come about. What the worker's signatures look like is known here and nowhere else in `benchmarks`.
"""

# B batch, T tokens, V vocabulary

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast
from unittest.mock import patch

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from aft_contracts import Schedule
from aft_worker.forensics.analyze_batch import analyze_batch
from aft_worker.model.probed import probe
from aft_worker.train.state import TrainState, init_state
from aft_worker.train.step import StepInputs, StepOutputs, TrainStep
from aft_worker.trainer import Trainer

Step = Callable[[TrainState, Any, StepInputs, "PlainBatch"], tuple[TrainState, Any]]
"""state, frozen, inputs, batch -> state, what was measured."""

BareStep = Callable[[Any, Any, Any, StepInputs], tuple[Any, Any, jax.Array, StepOutputs | None]]
"""trainable, moments, frozen, inputs -> trainable, moments, loss, per-sample figures."""

PlainBatch = tuple[jax.Array, jax.Array]
"""Token ids and the weight of each as a target, [B, T]."""


@dataclass(kw_only=True)
class Program:
    """A compiled step and the state that it moves on."""

    compiled: Any
    trainer: Trainer
    inputs: StepInputs
    batch: PlainBatch
    state: TrainState

    def __call__(self) -> None:
        """Takes one step and waits for it; the batch is always the same."""
        self.state, measured = self.compiled(self.state, self.trainer.model.frozen, self.inputs, self.batch)
        jax.block_until_ready((self.state, measured))

    @property
    def temporary_bytes(self) -> int:
        """Memory that the program needs besides its arguments and results."""
        return int(self.compiled.memory_analysis().temp_size_in_bytes)


def compiled(trainer: Trainer, step: Step) -> Program:
    """`step` compiled for the trainer's first batch, before its first step."""
    drawn = trainer.batches.batch_at(0, Schedule())
    batch = jnp.asarray(drawn.tokens), jnp.asarray(drawn.loss_weights)
    inputs, state = inputs_at(trainer, 0), first_state(trainer)
    program = jax.jit(step, donate_argnums=0, keep_unused=True)
    lowered = program.lower(state, trainer.model.frozen, inputs, batch)
    return Program(compiled=lowered.compile(), trainer=trainer, inputs=inputs, batch=batch, state=state)


def first_state(trainer: Trainer) -> TrainState:
    """The state before the first step."""
    return init_state(trainer.model, trainer.spec.optim, trainer.spec.detection)


def inputs_at(trainer: Trainer, step: int) -> StepInputs:
    """What the trainer hands to its program at `step`."""

    def catch(_: TrainState, inputs: StepInputs) -> NoReturn:
        raise _Caught(inputs)

    try:
        # The state is passed on unseen.
        replace(trainer, train_step=cast(TrainStep, catch)).advance(cast(TrainState, None), step, Schedule())
    except _Caught as caught:
        return caught.inputs
    raise AssertionError("advance() takes no step")


class _Caught(Exception):
    def __init__(self, inputs: StepInputs) -> None:
        self.inputs = inputs


def with_figures(trainer: Trainer) -> Step:
    """aft's step: guard, update, and every sample's loss and gradient norm."""

    def step(state: TrainState, frozen: Any, inputs: StepInputs, _: PlainBatch) -> tuple[TrainState, Any]:
        return trainer.train_step._step(state, frozen, inputs)

    return step


def without_figures(trainer: Trainer) -> Step:
    """The same step and nothing per sample.

    What nobody reads, XLA removes: the custom derivatives stay as they are and their norms are not computed.
    """

    def step(state: TrainState, frozen: Any, inputs: StepInputs, _: PlainBatch) -> tuple[TrainState, Any]:
        after, outputs = trainer.train_step._step(state, frozen, inputs)
        return after, (outputs.loss, outputs.grad_norm, outputs.applied, outputs.withheld)

    return step


def without_norms(trainer: Trainer) -> Step:
    """The same step with every sample's loss and accuracy, but not its norm."""

    def step(state: TrainState, frozen: Any, inputs: StepInputs, _: PlainBatch) -> tuple[TrainState, Any]:
        after, outputs = trainer.train_step._step(state, frozen, inputs)
        return after, replace(outputs, sample_grad_norm=outputs.loss)

    return step


def without_figures_in_one_product(trainer: Trainer) -> Step:
    """The same, with each weight gradient as one matrix product, also where aft adds it up sample by sample."""
    bare = without_figures(trainer)

    def step(state: TrainState, frozen: Any, inputs: StepInputs, batch: PlainBatch) -> tuple[TrainState, Any]:
        with patch.object(
            probe, "gram_is_cheaper", lambda *_: True
        ):  # Its Gram matrices go as well: nobody reads them.
            return bare(state, frozen, inputs, batch)

    return step


def by_autodiff(trainer: Trainer) -> Step:
    """Gradient of the plain logits' cross-entropy, as JAX derives it."""

    def step(state: TrainState, frozen: Any, inputs: StepInputs, batch: PlainBatch) -> tuple[TrainState, Any]:
        loss, gradient = jax.value_and_grad(plain_loss(trainer, frozen))(state.trainable, batch)
        return _updated(trainer, state, inputs, gradient), loss

    return step


def by_vmap(trainer: Trainer) -> Step:
    """The textbook form: vmap over grad, and the batch gradient from the samples' gradients."""

    def step(state: TrainState, frozen: Any, inputs: StepInputs, batch: PlainBatch) -> tuple[TrainState, Any]:
        loss_of = plain_loss(trainer, frozen)

        def own_loss(trainable: Any, sample: PlainBatch) -> jax.Array:
            return loss_of(trainable, (sample[0][None], sample[1][None]))

        analysis = analyze_batch(own_loss, state.trainable, batch, keep_gradients=True)
        totals_B = batch[1][:, 1:].sum(1)
        shares_B = totals_B / totals_B.sum()
        gradient = jax.tree.map(lambda own: jnp.tensordot(shares_B, own, 1), analysis.gradients)
        return _updated(trainer, state, inputs, gradient), (analysis.losses, analysis.grad_norms)

    return step


def plain_loss(trainer: Trainer, frozen: Any) -> Callable[[Any, PlainBatch], jax.Array]:
    """trainable, batch -> mean next-token cross-entropy in nats per weighted token, by plain operations."""

    def loss(trainable: Any, batch: PlainBatch) -> jax.Array:
        tokens, weights = batch
        logits_BTV = nnx.merge(trainer.model.graphdef, trainable, frozen).logits(tokens)[:, :-1]
        nll_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, tokens[:, 1:])
        return (weights[:, 1:] * nll_BT).sum() / weights[:, 1:].sum()

    return loss


def _updated(trainer: Trainer, state: TrainState, inputs: StepInputs, gradient: Any) -> TrainState:
    grad_norm = optax.tree.norm(gradient)
    trainable, opt_state, _ = trainer.train_step._updated(state, gradient, grad_norm, inputs, jnp.bool_(True))
    return replace(state, trainable=trainable, opt_state=opt_state, step=state.step + 1)


def bare_step(trainer: Trainer, optimizer: optax.GradientTransformation, *, figures: bool) -> BareStep:
    """aft's gradient with an optimizer of Optax, and nothing around it: no guard, and per-sample figures if asked for.

    Compiled when it is first called; the parameters and moments given are consumed.
    """

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), first_state(trainer))

    def step(
        trainable: Any, moments: Any, frozen: Any, inputs: StepInputs
    ) -> tuple[Any, Any, jax.Array, StepOutputs | None]:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        outputs, gradient = _caught_gradient(trainer, replace(zeros, trainable=trainable), frozen, inputs)
        directions, moments = optimizer.update(gradient, moments, trainable)
        return optax.apply_updates(trainable, directions), moments, outputs.loss, outputs if figures else None

    return cast(BareStep, jax.jit(step, donate_argnums=(0, 1)))


def _caught_gradient(trainer: Trainer, state: TrainState, frozen: Any, inputs: StepInputs) -> tuple[StepOutputs, Any]:
    """What aft's step hands to its optimizer; what it would do with that is dead code and not compiled."""
    caught: list[Any] = []

    def catch(state: TrainState, gradient: Any, *_: Any) -> tuple[Any, Any, jax.Array]:
        caught.append(gradient)
        return state.trainable, state.opt_state, jnp.zeros(())

    with patch.object(trainer.train_step, "_updated", catch):
        _, outputs = trainer.train_step._step(state, frozen, inputs)
    return outputs, caught[0]
