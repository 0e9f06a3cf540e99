"""OrbaxFolder: states and records on disk, by generation and step, as Orbax writes them."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from aft_worker.train.state import TrainState


class OrbaxFolder:
    """The only place that knows Orbax.

    Each generation has a manager of its own, because Orbax quietly refuses to save a step below its newest one.
    """

    def __init__(self, folder: Path, template: TrainState) -> None:
        self.folder = folder
        self._shapes = jax.tree.map(_shape_of, template)
        self._managers: dict[int, ocp.CheckpointManager] = {}

    def close(self) -> None:
        """Lets go of the managers."""
        for manager in self._managers.values():
            manager.close()  # type: ignore[no-untyped-call]
        self._managers.clear()

    def save(self, state: TrainState, record: dict[str, Any], *, generation: int, step: int) -> None:
        """Writes both in one commit; the step must not exist."""
        contents = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        # Forced, because a damaged checkpoint may have to be saved again below the newest step.
        if not self._manager(generation).save(step, args=contents, force=True):
            raise OSError(f"Orbax did not save step {step} under {self.folder / str(generation)}.")

    def read_record(self, *, generation: int, step: int) -> Any:
        """The record alone, without reading the state."""
        contents = ocp.args.Composite(record=ocp.args.JsonRestore())
        restored: Any = self._manager(generation).restore(step, args=contents)
        return restored.record

    def read_state(self, *, generation: int, step: int) -> TrainState:
        """The state, on the devices that the template lies on."""
        contents = ocp.args.Composite(state=ocp.args.StandardRestore(self._shapes))
        restored: Any = self._manager(generation).restore(step, args=contents)
        state: TrainState = restored.state
        return state

    def delete(self, *, generation: int, step: int) -> None:
        """Removes a step from disk."""
        self._manager(generation).delete(step)

    def _manager(self, generation: int) -> ocp.CheckpointManager:
        if generation not in self._managers:
            options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, create=True)
            self._managers[generation] = ocp.CheckpointManager(self.folder / str(generation), options=options)
        return self._managers[generation]


def _shape_of(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
