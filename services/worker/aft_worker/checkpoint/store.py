"""CheckpointStore: the committed states of one run, in `<folder>/<generation>/<step>/`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import jax
import numpy as np
import structlog

from aft_contracts import CheckpointRef, CheckpointSpec, Schedule, WindowResult, WorkerNote
from aft_worker.checkpoint.errors import (
    CheckpointConflict,
    CheckpointNotWritten,
    DamagedCheckpoint,
    NoGoodCheckpoint,
    NonFiniteParameters,
)
from aft_worker.checkpoint.inspection import numbered
from aft_worker.checkpoint.manifest import MANIFEST_NAME, Manifest, verified_manifest, write_manifest
from aft_worker.checkpoint.orbax_folder import OrbaxFolder
from aft_worker.checkpoint.record import CheckpointRecord
from aft_worker.checkpoint.retention import expendable_steps
from aft_worker.course import course_before
from aft_worker.errors import WorkerError
from aft_worker.train.digest import state_digest
from aft_worker.train.state import TrainState

log = structlog.get_logger(__name__)

_NO_GOOD = (DamagedCheckpoint, OSError)
"""What a checkpoint is passed over for; only the damaged may be removed, for the disk may yet give back the other."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A verified state from disk."""

    state: TrainState
    generation: int
    step: int
    record: CheckpointRecord
    notes: tuple[WorkerNote, ...]
    """One for each newer checkpoint that had to be passed over."""


@dataclass(frozen=True, kw_only=True)
class _Committed:
    manifest: Manifest
    record: CheckpointRecord
    ref: CheckpointRef


class CheckpointStore:
    """Saves, verifies, restores and prunes; only what matches its manifest counts.

    One thread may save while another reads.
    """

    def __init__(
        self,
        folder: Path,
        template: TrainState,
        policy: CheckpointSpec,
        *,
        may_write: Callable[[], None] = lambda: None,
    ) -> None:
        """`may_write` raises when the folder belongs to another worker; it is asked before writing and committing."""
        self.folder, self.policy, self._may_write = folder.absolute(), policy, may_write
        self._orbax = OrbaxFolder(self.folder, template)
        self._staying = Lock()
        """Held while something is read or removed: nothing may vanish under a reader."""

    def is_fresh(self) -> bool:
        """Whether the run never committed anything: at most an unfinished state before the first step is there."""
        folders = [(generation, step) for generation in self._generations() for step in self._steps(generation)]
        return all(place == (0, 0) and not self._is_committed(*place) for place in folders)

    def save(self, state: TrainState, *, generation: int, step: int, record: CheckpointRecord) -> CheckpointRef:
        """Commits `state`; where the very same state is committed already, that checkpoint stands.

        The digest in a window's record is taken at its word: it is computed once, and checked when it is restored.

        Raises:
            NonFiniteParameters: a trained parameter is NaN or infinite.
            CheckpointConflict: another state is committed there.
            CheckpointNotWritten: the disk is full, or does not do as it is told.
        """
        self._may_write()
        _refuse_non_finite(state, step)
        digest = record.window.state_digest if record.window is not None else state_digest(state)
        folder = self._folder(generation, step)
        try:
            if (standing := self._standing_or_cleared(generation, step, digest)) is not None:
                return standing
            self._orbax.save(state, record.model_dump(mode="json"), generation=generation, step=step)
            self._may_write()
            manifest_digest = write_manifest(folder, generation=generation, step=step, state_digest=digest)
        except (OSError, ValueError) as error:  # Orbax tells of a full disk with a ValueError.
            raise CheckpointNotWritten(
                f"The checkpoint of step {step} could not be written to {folder} ({error}); make room or repair the "
                "disk. Its window is trained again when it is put again.",
                generation=generation,
                step=step,
            ) from error
        log.info("checkpoint_committed", generation=generation, step=step)
        self._tidy(generation)
        return _ref(generation, step, folder, manifest_digest)

    def newest_ancestor(self, schedule: Schedule, step: int) -> Restored:
        """The newest good state from which `schedule` leads to `step`; not to be asked while a save is in flight.

        Raises:
            NoGoodCheckpoint: there is none.
        """
        notes: list[WorkerNote] = []
        for generation, at in self._ancestors(schedule, step):
            try:
                committed = self._verified(generation, at)
                if course_before(committed.record.schedule, at) != course_before(schedule, at):
                    log.info("checkpoint_on_other_course", generation=generation, step=at)
                    continue
                state = self._state(committed)
                return Restored(
                    state=state, generation=generation, step=at, record=committed.record, notes=tuple(notes)
                )
            except _NO_GOOD as damage:
                log.warning("checkpoint_fell_back", generation=generation, step=at, reason=str(damage))
                notes.append(_fell_back(generation, at, damage))
        raise NoGoodCheckpoint(
            f"No undamaged checkpoint leads to step {step} ({len(notes)} damaged or unreadable); "
            f"bring back {self.folder} from a backup or start a new run.",
            step=step,
            damaged=[note.message for note in notes],
        )

    def window_result(self, window_id: str, *, generation: int, after_step: int, end_step: int) -> WindowResult | None:
        """The result of a window that was committed after one step and up to another; None when it was not."""
        with self._staying:
            for step in self._steps(generation):
                if not after_step < step <= end_step:
                    continue
                try:
                    committed = self._verified(generation, step)
                except _NO_GOOD:
                    continue
                window = committed.record.window
                if window is not None and window.window_id == window_id:
                    return window.result(committed.ref)
        return None

    def _verified(self, generation: int, step: int) -> "_Committed":
        folder = self._folder(generation, step)
        manifest, manifest_digest = verified_manifest(folder)
        record = CheckpointRecord.model_validate(self._orbax.read_record(generation=generation, step=step))
        return _Committed(manifest=manifest, record=record, ref=_ref(generation, step, folder, manifest_digest))

    def _state(self, committed: "_Committed") -> TrainState:
        ref = committed.ref
        state = self._orbax.read_state(generation=ref.generation, step=ref.step)
        if state_digest(state) != committed.manifest.state_digest:
            raise DamagedCheckpoint(f"{ref.uri} restores another state than was saved.")
        log.info("checkpoint_restored", generation=ref.generation, step=ref.step)
        return state

    def _standing_or_cleared(self, generation: int, step: int, digest: str) -> CheckpointRef | None:
        """The checkpoint that is committed there; one that is unfinished or damaged makes room, and None comes back."""
        folder = self._folder(generation, step)
        if not folder.exists():
            return None
        try:
            manifest, manifest_digest = verified_manifest(folder)
        except DamagedCheckpoint:
            self._delete(generation, step)
            return None
        if manifest.state_digest != digest:
            raise CheckpointConflict(
                f"{folder} is committed with another state; roll back to begin a new generation.",
                generation=generation,
                step=step,
            )
        return _ref(generation, step, folder, manifest_digest)

    def _ancestors(self, schedule: Schedule, step: int) -> list[tuple[int, int]]:
        """(generation, step) of what is on disk and on the way to `step`, newest step first."""
        places = [
            (generation, at)
            for generation, reach in schedule.lineage(step)
            for at in self._steps(generation)
            if at <= reach
        ]
        return sorted(places, key=lambda place: (place[1], place[0]), reverse=True)

    def _tidy(self, generation: int) -> None:
        # A commit stands, whether or not something else can be removed.
        try:
            self._may_write()  # What a lost run holds unfinished, its new owner may be writing.
            self._prune(generation)
            # A kill before a rollback leaves its own in an older generation, where nobody writes it again.
            for at in reversed([at for at in self._generations() if at <= generation]):
                self._remove_unfinished(at)
        except WorkerError as refusal:
            log.warning("checkpoints_not_pruned", generation=generation, reason=str(refusal))
        except OSError:
            log.exception("checkpoints_not_pruned", generation=generation)

    def _prune(self, generation: int) -> None:
        # What was never finished is not counted among the newest.
        committed = [step for step in self._steps(generation) if self._is_committed(generation, step)]
        for step in expendable_steps(committed, self.policy, generation=generation):
            self._delete(generation, step)

    def _remove_unfinished(self, generation: int) -> None:
        """Removes what no manifest vouches for; only once something newer stands, lest a run look fresh."""
        self._orbax.sweep(generation)
        for step in self._steps(generation):
            if not self._is_committed(generation, step):
                self._delete(generation, step)

    def _delete(self, generation: int, step: int) -> None:
        # The manifest first: a crash in between leaves an unfinished checkpoint, not a damaged one.
        with self._staying:
            (self._folder(generation, step) / MANIFEST_NAME).unlink(missing_ok=True)
            self._orbax.delete(generation=generation, step=step)

    def _generations(self) -> list[int]:
        return numbered(self.folder)

    def _steps(self, generation: int) -> list[int]:
        return numbered(self.folder / str(generation))

    def _folder(self, generation: int, step: int) -> Path:
        return self.folder / str(generation) / str(step)

    def _is_committed(self, generation: int, step: int) -> bool:
        return (self._folder(generation, step) / MANIFEST_NAME).is_file()


def _refuse_non_finite(state: TrainState, step: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.trainable):
        if not np.isfinite(np.asarray(leaf)).all():
            name = jax.tree_util.keystr(path)
            raise NonFiniteParameters(f"At step {step}, {name} is not finite; roll back.", step=step, parameter=name)


def _ref(generation: int, step: int, folder: Path, manifest_digest: str) -> CheckpointRef:
    return CheckpointRef(generation=generation, step=step, uri=folder.as_uri(), manifest_digest=manifest_digest)


def _fell_back(generation: int, step: int, damage: Exception) -> WorkerNote:
    return WorkerNote(
        kind="checkpoint_fell_back",
        message=f"Checkpoint {step} of generation {generation} was passed over for an older one: {damage}",
    )
