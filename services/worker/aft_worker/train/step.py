"""TrainStep: one optimizer step, compiled once, that decides for itself whether its update reaches the weights."""

# B lines of the batch, T tokens, P samples a line, S = B * P samples

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from aft_contracts import DetectionSpec, OptimSpec, Withheld
from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import by_rows, replicated
from aft_worker.model.parameters import Parameters
from aft_worker.train.errors import refuse_uneven
from aft_worker.train.gradients import Lines, batch_gradients
from aft_worker.train.guard import CODES, judge
from aft_worker.train.optimizer import make_optimizer
from aft_worker.train.state import TrainState, state_sharding


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """What one step is given."""

    lines: Lines
    """What the gradient is computed from."""
    learning_rate: Float[Array, ""]
    clip_norm: Float[Array, ""]
    """Largest global gradient norm that is let through unscaled."""
    skip: Bool[Array, ""]
    """Whether the batch is consumed without applying its update."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class StepOutputs:
    """What one step measured."""

    loss: Float[Array, ""]
    """Mean loss of the batch, in nats per weighted token."""
    grad_norm: Float[Array, ""]
    """Global L2 norm of its gradient, before clipping."""
    applied: Bool[Array, ""]
    withheld: Int[Array, ""]
    """Why the update was not applied, as a code for `withheld_of`; 0 when it was."""
    sample_loss: Float[Array, " samples"]
    """Per sample, line by line, zeros where a line has fewer than its most; likewise the next three."""
    sample_grad_norm: Float[Array, " samples"]
    sample_accuracy: Float[Array, " samples"]
    sample_tokens: Int[Array, " samples"]


def withheld_of(code: Int[Array, ""] | int) -> Withheld | None:
    """The reason that `StepOutputs.withheld` stands for; None for an applied update."""
    return CODES[int(code)]


class TrainStep:
    """state, inputs -> state, outputs. The state given is consumed: its memory holds the one returned."""

    compilations: int
    """How often the step was compiled; one a run, unless shapes change."""

    def __init__(
        self, model: LoadedModel, optim: OptimSpec, detection: DetectionSpec, mesh: Mesh, *, packed: int = 1
    ) -> None:
        self.compilations = 0
        self._packed, self._parts = packed, optim.accumulation_steps
        self._graphdef, self._frozen = model.graphdef, model.frozen
        self._optimizer = make_optimizer(optim)
        self._detection, self._mesh = detection, mesh
        # The frozen weights are an argument: as a captured constant they would be copied into the program.
        self._compiled = jax.jit(self._step, donate_argnums=0)

    def __call__(self, state: TrainState, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        refuse_uneven(inputs.lines.tokens.shape[0], devices=self._mesh.shape["data"], parts=self._parts)
        # A no-op for a state that a step returned; one from a checkpoint is put where the program expects it.
        state = jax.device_put(state, state_sharding(state, self._mesh))
        after, outputs = self._compiled(state, self._frozen, self._placed(inputs))
        return after, outputs

    def _placed(self, inputs: StepInputs) -> StepInputs:
        everywhere = replicated(self._mesh)
        lines: Lines = jax.tree.map(lambda leaf: jax.device_put(leaf, by_rows(self._mesh)), _typed(inputs.lines))
        return StepInputs(
            lines=lines,
            learning_rate=jax.device_put(jnp.asarray(inputs.learning_rate, jnp.float32), everywhere),
            clip_norm=jax.device_put(jnp.asarray(inputs.clip_norm, jnp.float32), everywhere),
            skip=jax.device_put(jnp.asarray(inputs.skip, jnp.bool), everywhere),
        )

    def _step(self, state: TrainState, frozen: Parameters, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        self.compilations += 1  # Python runs this once for each compilation, while JAX traces it.
        batch = batch_gradients(
            self._graphdef,
            state.trainable,
            frozen,
            inputs.lines,
            self._mesh,
            packed=self._packed,
            parts=self._parts,
        )
        grad_norm = optax.tree.norm(batch.gradient)
        # A batch that carries no token has nothing to teach: Adam's momentum alone must not move the weights.
        skip = inputs.skip | (batch.tokens == 0)
        guard, code = judge(state.guard, batch.loss, grad_norm, skip, self._detection)
        applied = code == 0
        moved = self._updated(state, batch.gradient, grad_norm, inputs)
        trainable, opt_state = jax.tree.map(
            lambda new, old: jnp.where(applied, new, old), moved, (state.trainable, state.opt_state)
        )
        after = TrainState(trainable=trainable, opt_state=opt_state, guard=guard, step=state.step + 1)
        outputs = StepOutputs(
            loss=batch.loss,
            grad_norm=grad_norm,
            applied=applied,
            withheld=code,
            sample_loss=batch.sample_loss,
            sample_grad_norm=batch.sample_grad_norm,
            sample_accuracy=batch.sample_accuracy,
            sample_tokens=batch.sample_tokens,
        )
        return jax.lax.with_sharding_constraint(after, state_sharding(after, self._mesh)), outputs

    def _updated(
        self, state: TrainState, gradient: Parameters, grad_norm: Float[Array, ""], inputs: StepInputs
    ) -> tuple[Parameters, optax.OptState]:
        factor = jnp.minimum(1.0, inputs.clip_norm / jnp.maximum(grad_norm, 1e-12))
        clipped = jax.tree.map(lambda leaf: leaf * factor, gradient)
        directions, opt_state = self._optimizer.update(clipped, state.opt_state, state.trainable)
        trainable = jax.tree.map(lambda leaf, step: leaf - inputs.learning_rate * step, state.trainable, directions)
        return trainable, opt_state


def _typed(lines: Lines) -> Lines:
    # One type for each, whatever the caller holds: another type would be another compilation.
    return Lines(
        tokens=jnp.asarray(lines.tokens, jnp.int32),
        loss_weights=jnp.asarray(lines.loss_weights, jnp.float32),
        segments=None if lines.segments is None else jnp.asarray(lines.segments, jnp.int32),
        sample_keys=None if lines.sample_keys is None else jnp.asarray(lines.sample_keys, jnp.uint32),
    )
