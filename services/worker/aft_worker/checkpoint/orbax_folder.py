"""OrbaxFolder: states and records on disk, by generation and step, as Orbax writes them."""

import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from aft_worker.durable import rename_durably, unfinished
from aft_worker.train.state import TrainState

_UNFINISHED = ("*.orbax-checkpoint-tmp*", "*.part")
"""Names of folders that are not finished: as Orbax writes them, and as it leaves them to be given their own."""


class OrbaxFolder:
    """The only place that knows Orbax. It remembers nothing but shapes, so one thread may write while others read.

    Orbax's own manager is left out: it quietly refuses to save a step below its newest one, counts steps that no
    manifest vouches for, and is made for one thread.
    """

    def __init__(self, folder: Path, template: TrainState) -> None:
        self.folder = folder
        self._shapes = jax.tree.map(_shape_of, template)

    def save(self, state: TrainState, record: dict[str, Any], *, generation: int, step: int) -> None:
        """Writes both in one commit; the step must not exist."""
        contents = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        place = self._place(generation, step)
        draft = unfinished(place)  # another each time: threads of a save that failed may still write into theirs
        with _checkpointer() as checkpointer:
            checkpointer.save(draft, args=contents)
        rename_durably(draft, place)

    def read_record(self, *, generation: int, step: int) -> Any:
        """The record alone, without reading the state."""
        contents = ocp.args.Composite(record=ocp.args.JsonRestore())
        with _checkpointer() as checkpointer:
            return checkpointer.restore(self._place(generation, step), args=contents).record

    def read_state(self, *, generation: int, step: int) -> TrainState:
        """The state, on the devices that the template lies on, whichever it was saved from."""
        contents = ocp.args.Composite(state=ocp.args.StandardRestore(self._shapes))
        with _checkpointer() as checkpointer:
            state: TrainState = checkpointer.restore(self._place(generation, step), args=contents).state
        return state

    def delete(self, *, generation: int, step: int) -> None:
        """Removes a step from disk."""
        shutil.rmtree(self._place(generation, step))

    def sweep(self, generation: int) -> None:
        """Removes what Orbax began to write and a crash or a full disk ended.

        What cannot go yet goes with a later call: after a save that failed, Orbax's threads may write a moment longer.
        """
        for pattern in _UNFINISHED:
            for path in (self.folder / str(generation)).glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    def _place(self, generation: int, step: int) -> Path:
        return self.folder / str(generation) / str(step)


def _checkpointer() -> Any:
    # A new one each time: its handlers remember how they were last used, and refuse to be used otherwise.
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())


def _shape_of(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
