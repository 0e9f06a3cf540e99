"""A copy of a train state that the steps to come cannot touch."""

import jax
import jax.numpy as jnp

from aft_worker.train.state import TrainState


def snapshot(state: TrainState) -> TrainState:
    """The same values in memory of their own, each array on the devices it lay on.

    Steps donate their state, and what NumPy shows of an array on a CPU is that very memory: only a copy outlives the
    next step. Waits for the copy, so that a lack of memory is told here and not to whoever reads the copy later.
    """
    copied: TrainState = jax.block_until_ready(_copied(state))
    return copied


@jax.jit
def _copied(state: TrainState) -> TrainState:
    copied: TrainState = jax.tree.map(jnp.copy, state)
    return copied
