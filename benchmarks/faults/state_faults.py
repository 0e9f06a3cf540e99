"""Faults of the machine: weights or optimizer moments that are suddenly others. Each strikes once."""

import jax
import jax.numpy as jnp
import numpy as np

from aft_contracts import Verdict
from aft_worker.model.parameters import with_values
from aft_worker.train.state import TrainState
from benchmarks.faults.case import WINDOW_STEPS, Case, Truth

EXPONENT_BIT = np.uint32(1 << 30)
"""The highest bit of a float32's exponent: a weight below 2 is multiplied by 2 to the 128th."""
MOMENT_FACTOR = 1e-8
LAYERS = ("v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Layers in which a wrong bit does harm at once. In a query or key weight it may do none for many steps, and so may one
in the embedding of a token that does not come: there nobody could say which step was the first harmful one."""


class FlippedBit(Case):
    """One bit of a weight is another in one step in the middle of a window, and right again after it."""

    name = "flipped_bit_transient"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.first_step += 5 - self.first_step % WINDOW_STEPS
        self._struck = self._flipped = False
        self._place = self.rng.random()
        self._name = self.rng.choice(LAYERS)

    @property
    def truth(self) -> Truth:
        """The machine did it, once."""
        return Truth(first_step=self.first_step, verdict=Verdict.TRANSIENT)

    def before(self, state: TrainState, step: int) -> TrainState:
        """With the flipped bit, the first time that this step is trained."""
        if self._struck or step != self.first_step:
            return state
        self._struck = self._flipped = True
        return self.damaged(state)

    def after(self, state: TrainState, step: int) -> TrainState:
        """The bit turned back after the step that it was wrong in."""
        if not self._flipped or step != self.first_step:
            return state
        self._flipped = False
        return self.damaged(state)

    def damaged(self, state: TrainState) -> TrainState:
        """One exponent bit of one weight of one dense layer, flipped; twice is not at all."""

        def value(path: tuple[str, ...], variable: object) -> object:
            array = variable.get_value()  # type: ignore[attr-defined]
            if self._name not in path or path[-1] != "kernel":
                return array
            bits = np.array(array).view(np.uint32)
            bits.flat[int(self._place * bits.size)] ^= EXPONENT_BIT
            return jax.device_put(bits.view(np.float32), array.sharding)

        return _replaced(state, trainable=with_values(state.trainable, value))


class StoredDamage(FlippedBit):
    """The same at the end of a window, so that the damage is in its checkpoint; the next step is the first harmful."""

    name = "flipped_bit_persistent"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.first_step += 5

    @property
    def truth(self) -> Truth:
        """The state is damaged."""
        return Truth(first_step=self.first_step, verdict=Verdict.STATE)

    def before(self, state: TrainState, step: int) -> TrainState:
        """As it is."""
        del step
        return state

    def after(self, state: TrainState, step: int) -> TrainState:
        """Damaged after the window's last step, the first time that it is trained."""
        if self._struck or step + 1 != self.first_step:
            return state
        self._struck = True
        return self.damaged(state)


class CorruptedMoments(StoredDamage):
    """The optimizer's second moments are nearly zero, as after a restore that lost them: every step is far too long."""

    name = "corrupted_moments"

    def damaged(self, state: TrainState) -> TrainState:
        """Second moments times a very small number."""

        def shrunk(path: tuple[object, ...], leaf: jax.Array) -> jax.Array:
            is_second = any(getattr(entry, "name", None) == "nu" for entry in path)
            return leaf * jnp.float32(MOMENT_FACTOR) if is_second else leaf

        return _replaced(state, opt_state=jax.tree_util.tree_map_with_path(shrunk, state.opt_state))


def _replaced(state: TrainState, *, trainable: object = None, opt_state: object = None) -> TrainState:
    return TrainState(
        trainable=state.trainable if trainable is None else trainable,  # type: ignore[arg-type]
        opt_state=state.opt_state if opt_state is None else opt_state,
        guard=state.guard,
        step=state.step,
    )


STATE_FAULTS = (FlippedBit, StoredDamage, CorruptedMoments)
