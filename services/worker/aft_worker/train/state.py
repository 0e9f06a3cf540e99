"""TrainState: everything that a step changes, and that a checkpoint must bring back."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int

from aft_contracts import DetectionSpec, OptimSpec
from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import parameter_sharding
from aft_worker.model.parameters import Parameters
from aft_worker.train.guard import GuardState, emptied, empty_guard
from aft_worker.train.optimizer import make_optimizer


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Trained parameters, the optimizer's moments, the guard's memory and the step count."""

    trainable: Parameters
    opt_state: Any
    guard: GuardState
    step: Int[Array, ""]
    """Optimizer steps attempted."""


def init_state(model: LoadedModel, optim: OptimSpec, detection: DetectionSpec) -> TrainState:
    """The state before the first step; it shares no memory with `model`, because steps donate theirs."""
    mesh = _mesh_of(model.trainable)
    state = TrainState(
        trainable=model.trainable,
        opt_state=make_optimizer(optim).init(model.trainable),
        guard=empty_guard(detection),
        step=jnp.int32(0),
    )
    # Every leaf gets memory of its own: JAX may let equal zeros share a buffer, which cannot be donated twice.
    own: TrainState = jax.jit(lambda shared: jax.tree.map(jnp.copy, shared))(state)
    placed: TrainState = jax.device_put(own, state_sharding(state, mesh))
    return placed


def unguarded(state: TrainState) -> TrainState:
    """`state` with a guard that has seen nothing: it withholds no finite update in the next step."""
    return replace(state, guard=emptied(state.guard))


def state_sharding(state: TrainState, mesh: Mesh) -> TrainState:
    """Where each array of `state` lies: as parameters do."""
    shardings: TrainState = jax.tree.map(lambda leaf: parameter_sharding(mesh, leaf.shape), state)
    return shardings


def _mesh_of(parameters: Parameters) -> Mesh:
    sharding = jax.tree.leaves(parameters)[0].sharding
    if not isinstance(sharding, NamedSharding) or not isinstance(sharding.mesh, Mesh):
        raise TypeError(f"model parameters lie on {sharding}; load them with load_model, which places them on a mesh")
    return sharding.mesh
