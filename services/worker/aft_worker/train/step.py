"""TrainStep: one optimizer step, compiled once, that decides for itself whether its update reaches the weights."""

# B batch, T tokens

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
from aft_worker.train.errors import BatchDoesNotDivide
from aft_worker.train.gradients import batch_gradients
from aft_worker.train.guard import CODES, judge
from aft_worker.train.optimizer import make_optimizer
from aft_worker.train.state import TrainState, state_sharding


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """What one step is given."""

    tokens: Int[Array, "batch tokens"]
    """Token ids, padded on the right."""
    loss_weights: Float[Array, "batch tokens"]
    """Weight of each token as a target; column 0 is never used."""
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
    sample_loss: Float[Array, " batch"]
    sample_grad_norm: Float[Array, " batch"]
    sample_tokens: Int[Array, " batch"]


def withheld_of(code: Int[Array, ""] | int) -> Withheld | None:
    """The reason that `StepOutputs.withheld` stands for; None for an applied update."""
    return CODES[int(code)]


class TrainStep:
    """state, inputs -> state, outputs. The state given is consumed: its memory holds the one returned."""

    compilations: int
    """How often the step was compiled; one a run, unless shapes change."""

    def __init__(self, model: LoadedModel, optim: OptimSpec, detection: DetectionSpec, mesh: Mesh) -> None:
        self.compilations = 0
        self._graphdef, self._frozen = model.graphdef, model.frozen
        self._optimizer = make_optimizer(optim)
        self._detection, self._mesh = detection, mesh
        # The frozen weights are an argument: as a captured constant they would be copied into the program.
        self._compiled = jax.jit(self._step, donate_argnums=0)

    def __call__(self, state: TrainState, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        rows, parts = inputs.tokens.shape[0], self._mesh.shape["data"]
        if rows % parts:
            raise BatchDoesNotDivide(rows, parts)
        # A no-op for a state that a step returned; one from a checkpoint is put where the program expects it.
        state = jax.device_put(state, state_sharding(state, self._mesh))
        after, outputs = self._compiled(state, self._frozen, self._placed(inputs))
        return after, outputs

    def _placed(self, inputs: StepInputs) -> StepInputs:
        everywhere = replicated(self._mesh)
        return StepInputs(
            tokens=jax.device_put(jnp.asarray(inputs.tokens, jnp.int32), by_rows(self._mesh)),
            loss_weights=jax.device_put(jnp.asarray(inputs.loss_weights, jnp.float32), by_rows(self._mesh)),
            learning_rate=jax.device_put(jnp.asarray(inputs.learning_rate, jnp.float32), everywhere),
            clip_norm=jax.device_put(jnp.asarray(inputs.clip_norm, jnp.float32), everywhere),
            skip=jax.device_put(jnp.asarray(inputs.skip, jnp.bool), everywhere),
        )

    def _step(self, state: TrainState, frozen: Parameters, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        self.compilations += 1  # Python runs this once for each compilation, while JAX traces it.
        batch = batch_gradients(self._graphdef, state.trainable, frozen, inputs.tokens, inputs.loss_weights, self._mesh)
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
