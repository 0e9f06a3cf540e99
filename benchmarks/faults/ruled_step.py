"""RuledStep: an optimizer step like the worker's, but with a rule of somebody else in place of aft's guard."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from aft_contracts import OptimSpec
from aft_worker.model.load import LoadedModel
from aft_worker.train.gradients import BatchGradients, Lines, batch_gradients
from aft_worker.train.optimizer import make_optimizer
from aft_worker.train.state import TrainState
from aft_worker.train.step import StepInputs, StepOutputs
from benchmarks.faults.rules import Reading, Rule, Ruling


class RuledPrograms:
    """The two programs of a step: measure, and move. Compiled once for all rules."""

    def __init__(self, model: LoadedModel, optim: OptimSpec, mesh: Mesh) -> None:
        self._graphdef, self._frozen, self._mesh = model.graphdef, model.frozen, mesh
        self._optimizer = make_optimizer(optim)
        self.measure = jax.jit(self._measure)
        self.move = jax.jit(self._move)

    def _measure(self, trainable: Any, lines: Lines) -> tuple[BatchGradients, jax.Array]:
        batch = batch_gradients(self._graphdef, trainable, self._frozen, lines, self._mesh)
        return batch, optax.tree.norm(batch.gradient)

    def _move(
        self, state: TrainState, gradient: Any, grad_norm: jax.Array, rate: float, clip_norm: float
    ) -> tuple[Any, Any]:
        factor = jnp.minimum(1.0, clip_norm / jnp.maximum(grad_norm, 1e-12))
        clipped = jax.tree.map(lambda leaf: leaf * factor, gradient)
        directions, opt_state = self._optimizer.update(
            clipped, state.opt_state, state.trainable, applied=jnp.bool_(True)
        )
        return jax.tree.map(lambda leaf, along: leaf - rate * along, state.trainable, directions), opt_state


@dataclass(kw_only=True)
class RuledStep:
    """state, inputs -> state, outputs, as `TrainStep`; `rulings` is what the rule said about each step so far."""

    programs: RuledPrograms
    rule: Rule
    rulings: list[Ruling] = field(default_factory=list)

    def __call__(self, state: TrainState, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        lines = Lines(tokens=jnp.asarray(inputs.lines.tokens), loss_weights=jnp.asarray(inputs.lines.loss_weights))
        batch, grad_norm = self.programs.measure(state.trainable, lines)
        ruling = self.rule.rule(Reading(loss=float(batch.loss), grad_norm=float(grad_norm)))
        self.rulings.append(ruling)
        trainable, opt_state = state.trainable, state.opt_state
        if ruling.applied:
            clip_norm = jnp.float32(min(float(inputs.clip_norm), ruling.clip_norm))
            trainable, opt_state = self.programs.move(
                state, batch.gradient, grad_norm, jnp.float32(inputs.learning_rate), clip_norm
            )
        after = TrainState(trainable=trainable, opt_state=opt_state, guard=state.guard, step=state.step + 1)
        outputs = StepOutputs(
            loss=batch.loss,
            grad_norm=grad_norm,
            update_rms=jnp.float32(jnp.nan),  # no rule asks for it
            applied=jnp.bool_(ruling.applied),
            withheld=jnp.int32(0),
            sample_loss=batch.sample_loss,
            sample_grad_norm=batch.sample_grad_norm,
            sample_accuracy=batch.sample_accuracy,
            sample_tokens=batch.sample_tokens,
        )
        return after, outputs
