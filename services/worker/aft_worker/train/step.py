"""TrainStep: one optimizer step, compiled once, that decides for itself whether its update reaches the weights."""

# B lines of the batch, T tokens, P samples a line, S = B * P samples

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from aft_contracts import DetectionSpec, OptimSpec, Withheld
from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import by_rows, replicated
from aft_worker.model.parameters import Parameters
from aft_worker.train.errors import refuse_uneven
from aft_worker.train.gradients import Lines, batch_gradients
from aft_worker.train.guard import CODES, judge, rearmed
from aft_worker.train.optimizer import make_optimizer
from aft_worker.train.state import TrainState, state_sharding

MOST_SAMPLED = 65_536
"""Weights that are asked how far they moved."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """What one step is given."""

    lines: Lines
    """What the gradient is computed from."""
    learning_rate: Float[Array, ""] | float
    clip_norm: Float[Array, ""] | float
    """Largest global gradient norm that is let through unscaled."""
    skip: Bool[Array, ""] | bool
    """Whether the batch is consumed without applying its update."""
    rearm: Bool[Array, ""] | bool = False
    """Whether another rate, clip or mix holds from this step on, so that the guard forgets what it knew."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class StepOutputs:
    """What one step measured."""

    loss: Float[Array, ""]
    """Mean loss of the batch, in nats per weighted token."""
    grad_norm: Float[Array, ""]
    """Global L2 norm of its gradient, before clipping."""
    update_rms: Float[Array, ""]
    """Root mean square of how far a fixed sample of the weights moved (`sampled`), learning rate included; 0 when they
    did not."""
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
        self._home: TrainState | None = None
        # The frozen weights are an argument: as a captured constant they would be copied into the program.
        self._compiled = jax.jit(self._step, donate_argnums=0)

    def __call__(self, state: TrainState, inputs: StepInputs) -> tuple[TrainState, StepOutputs]:
        refuse_uneven(inputs.lines.tokens.shape[0], devices=self._mesh.shape["data"], parts=self._parts)
        after, outputs = self._compiled(self._at_home(state), self._frozen, self._placed(inputs))
        return after, outputs

    def _at_home(self, state: TrainState) -> TrainState:
        """`state` where the program expects it: as it is when a step returned it, put there when it was restored."""
        if self._home is None:
            self._home = state_sharding(state, self._mesh)
        leaves, homes = jax.tree.leaves(state), jax.tree.leaves(self._home)
        if all(getattr(leaf, "sharding", None) == home for leaf, home in zip(leaves, homes, strict=True)):
            return state
        placed: TrainState = jax.device_put(state, self._home)
        return placed

    def _placed(self, inputs: StepInputs) -> StepInputs:
        everywhere: Any = replicated(self._mesh)
        rows = by_rows(self._mesh)
        homes = StepInputs(
            lines=jax.tree.map(lambda _: rows, inputs.lines),
            learning_rate=everywhere,
            clip_norm=everywhere,
            skip=everywhere,
            rearm=everywhere,
        )
        placed: StepInputs = jax.device_put(_typed(inputs), homes)  # one transfer, not one for each array
        return placed

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
        known = rearmed(state.guard, inputs.rearm)
        guard, code = judge(known, batch.loss, grad_norm, skip, self._detection)
        applied = code == 0
        trainable, opt_state, update_rms = self._updated(state, batch.gradient, grad_norm, inputs, applied)
        after = TrainState(trainable=trainable, opt_state=opt_state, guard=guard, step=state.step + 1)
        outputs = StepOutputs(
            loss=batch.loss,
            grad_norm=grad_norm,
            update_rms=update_rms,
            applied=applied,
            withheld=code,
            sample_loss=batch.sample_loss,
            sample_grad_norm=batch.sample_grad_norm,
            sample_accuracy=batch.sample_accuracy,
            sample_tokens=batch.sample_tokens,
        )
        return jax.lax.with_sharding_constraint(after, state_sharding(after, self._mesh)), outputs

    def _updated(
        self,
        state: TrainState,
        gradient: Parameters,
        grad_norm: Float[Array, ""],
        inputs: StepInputs,
        applied: Bool[Array, ""],
    ) -> tuple[Parameters, optax.OptState, Float[Array, ""]]:
        """Weights and optimizer state after the step, and how far the weights moved.

        Every bit is as it was where `applied` is false.
        """
        factor = jnp.minimum(1.0, inputs.clip_norm / jnp.maximum(grad_norm, 1e-12))
        clipped = jax.tree.map(lambda leaf: leaf * factor, gradient)
        directions, opt_state = self._optimizer.update(clipped, state.opt_state, state.trainable, applied=applied)

        def moved(leaf: Array, direction: Array) -> Array:
            return jnp.where(applied, leaf - inputs.learning_rate * direction, leaf)

        update_rms = jnp.where(applied, inputs.learning_rate * _rms(sampled(directions)), 0.0)
        return jax.tree.map(moved, state.trainable, directions), opt_state, update_rms


def sampled(tree: Any) -> list[Any]:
    """The smallest leaves of a tree of parameters, up to `MOST_SAMPLED` weights; the very smallest in any case.

    Enough to tell by how much all have moved: over all weights that would cost 5 % more memory traffic a step.
    """
    chosen: list[Any] = []
    for leaf in sorted(jax.tree.leaves(tree), key=lambda leaf: int(leaf.size)):
        if chosen and sum(one.size for one in chosen) + leaf.size > MOST_SAMPLED:
            break
        chosen.append(leaf)
    return chosen


def _rms(leaves: list[Any]) -> Float[Array, ""]:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves) / sum(leaf.size for leaf in leaves))


def _typed(inputs: StepInputs) -> StepInputs:
    # One type for each, whatever the caller holds: another type would be another compilation.
    lines = inputs.lines
    return StepInputs(
        lines=Lines(
            tokens=_of_type(lines.tokens, np.int32),
            loss_weights=_of_type(lines.loss_weights, np.float32),
            segments=None if lines.segments is None else _of_type(lines.segments, np.int32),
            sample_keys=None if lines.sample_keys is None else _of_type(lines.sample_keys, np.uint32),
        ),
        learning_rate=_of_type(inputs.learning_rate, np.float32),
        clip_norm=_of_type(inputs.clip_norm, np.float32),
        skip=_of_type(inputs.skip, np.bool_),
        rearm=_of_type(inputs.rearm, np.bool_),
    )


def _of_type(value: Any, dtype: Any) -> Any:
    return np.asarray(value, dtype)
