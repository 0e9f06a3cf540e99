"""Checkpoints: what counts, what does not, and what happens to those that stopped counting."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aft_contracts import CheckpointSpec, DetectionSpec, LoraSpec, MetricsWindow, OptimSpec, Schedule
from aft_worker.checkpoint.errors import (
    CheckpointConflict,
    CheckpointNotWritten,
    DamagedCheckpoint,
    NoGoodCheckpoint,
    NonFiniteParameters,
)
from aft_worker.checkpoint.inspection import look_at
from aft_worker.checkpoint.manifest import MANIFEST_NAME, verified_manifest
from aft_worker.checkpoint.record import CheckpointRecord, WindowRecord
from aft_worker.checkpoint.retention import expendable_steps
from aft_worker.checkpoint.store import CheckpointStore
from aft_worker.errors import StorageFailed
from aft_worker.model.load import load_model
from aft_worker.model.mesh import make_mesh
from aft_worker.train.digest import state_digest
from aft_worker.train.state import TrainState, init_state
from tests.worker.conftest import make_unreadable

Damage = Callable[[Path], None]
RECORD = CheckpointRecord(schedule=Schedule(), data_digest="0" * 64)


@pytest.fixture(scope="module")
def first(tiny_model_dir: Path) -> TrainState:
    """A state with adapters and moments."""
    model = load_model(tiny_model_dir, lora=LoraSpec(rank=2), seed=0, mesh=make_mesh())
    return init_state(model, OptimSpec(), DetectionSpec())


@pytest.fixture
def store(first: TrainState, tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", first, CheckpointSpec(keep_last=3))


def moved(state: TrainState, step: int) -> TrainState:
    """Another state: what `step` steps might have made of this one."""
    trainable = jax.tree.map(lambda leaf: leaf + jnp.float32(step), state.trainable)
    return replace(state, trainable=trainable, step=state.step + jnp.int32(step))


def save(store: CheckpointStore, first: TrainState, *steps: int, generation: int = 0) -> list[Path]:
    for step in steps:
        store.save(moved(first, step), generation=generation, step=step, record=RECORD)
    return [store.folder / str(generation) / str(step) for step in steps]


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_a_sector(folder: Path) -> None:
    """One of the files cannot be read any more; its size tells nothing."""
    path, manifest = largest_file(folder), folder / MANIFEST_NAME
    content = json.loads(manifest.read_text())
    content["files"][path.relative_to(folder).as_posix()]["size"] = 0  # what stat says of the stand-in
    manifest.write_text(json.dumps(content))
    make_unreadable(path)


DAMAGES: dict[str, Damage] = {
    "flipped bit": lambda folder: flip_a_bit(largest_file(folder)),
    "truncated file": lambda folder: largest_file(folder).write_bytes(largest_file(folder).read_bytes()[:-1]),
    "missing file": lambda folder: largest_file(folder).unlink(),
    "missing manifest": lambda folder: (folder / MANIFEST_NAME).unlink(),
    "unreadable manifest": lambda folder: (folder / MANIFEST_NAME).write_text("{"),
    "bad sector in a file": lose_a_sector,
    "bad sector in the manifest": lambda folder: make_unreadable(folder / MANIFEST_NAME),
    "manifest of another state": lambda folder: (folder / MANIFEST_NAME).write_text(
        (folder / MANIFEST_NAME).read_text().replace('"state_digest": "', '"state_digest": "f')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_falls_back_with_a_note(store: CheckpointStore, first: TrainState, damage: Damage) -> None:
    damage(save(store, first, 0, 10, 20)[-1])
    restored = store.newest_ancestor(Schedule(), 25)
    assert (restored.generation, restored.step) == (0, 10)
    assert [note.kind for note in restored.notes] == ["checkpoint_fell_back"]
    assert "Checkpoint 20 of generation 0" in restored.notes[0].message
    jax.tree.map(np.testing.assert_array_equal, restored.state, moved(first, 10))


def test_a_window_is_found_behind_a_checkpoint_that_cannot_be_read(store: CheckpointStore, first: TrainState) -> None:
    (unreadable,) = save(store, first, 5)
    record = WindowRecord(
        window_id="w",
        start_step=0,
        end_step=10,
        metrics=MetricsWindow(window_id="w", steps=()),
        state_digest=state_digest(moved(first, 10)),
    )
    ref = store.save(moved(first, 10), generation=0, step=10, record=RECORD.model_copy(update={"window": record}))
    make_unreadable(unreadable / MANIFEST_NAME)
    result = store.window_result("w", generation=0, after_step=0, end_step=10)
    assert result is not None
    assert result.checkpoint == ref
    make_unreadable(store.folder / "0/10" / MANIFEST_NAME)
    assert store.window_result("w", generation=0, after_step=0, end_step=10) is None


def test_a_checkpoint_that_cannot_be_read_is_not_removed(store: CheckpointStore, first: TrainState) -> None:
    (folder,) = save(store, first, 5)
    content = largest_file(folder).read_bytes()
    make_unreadable(folder / MANIFEST_NAME)
    with pytest.raises(CheckpointNotWritten, match="Input/output error"):
        save(store, first, 5)
    assert (largest_file(folder).read_bytes(), (folder / MANIFEST_NAME).exists()) == (content, True)


def test_every_file_of_a_checkpoint_is_watched(store: CheckpointStore, first: TrainState) -> None:
    (folder,) = save(store, first, 5)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_NAME]
    assert len(files) > 5
    for path in files:
        intact = path.read_bytes()
        path.write_bytes(intact + b"x")
        with pytest.raises(DamagedCheckpoint, match=path.name):
            verified_manifest(folder)
        path.write_bytes(intact)
    verified_manifest(folder)


def test_without_a_good_checkpoint_there_is_an_error_not_a_fresh_start(
    store: CheckpointStore, first: TrainState
) -> None:
    for folder in save(store, first, 0, 10):
        flip_a_bit(largest_file(folder))
    assert not store.is_fresh()
    with pytest.raises(NoGoodCheckpoint, match="2 damaged"):
        store.newest_ancestor(Schedule(), 10)


def test_what_a_crash_left_unfinished_is_saved_again(store: CheckpointStore, first: TrainState) -> None:
    folder, later = save(store, first, 0, 10)
    (folder / MANIFEST_NAME).unlink()
    (later / MANIFEST_NAME).unlink()
    assert not store.is_fresh()
    save(store, first, 10, 0)
    assert store.newest_ancestor(Schedule(), 10).notes == ()
    assert store.newest_ancestor(Schedule(), 9).step == 0


def test_a_run_with_only_an_unfinished_first_state_is_fresh(store: CheckpointStore, first: TrainState) -> None:
    assert store.is_fresh()
    (folder,) = save(store, first, 0)
    assert not store.is_fresh()
    (folder / MANIFEST_NAME).unlink()
    assert store.is_fresh()


def test_the_same_state_stands_and_another_is_refused(store: CheckpointStore, first: TrainState) -> None:
    ref = store.save(moved(first, 5), generation=0, step=5, record=RECORD)
    assert store.save(moved(first, 5), generation=0, step=5, record=RECORD) == ref
    with pytest.raises(CheckpointConflict):
        store.save(moved(first, 6), generation=0, step=5, record=RECORD)


def test_parameters_that_are_not_finite_are_never_saved(store: CheckpointStore, first: TrainState) -> None:
    broken = replace(first, trainable=jax.tree.map(lambda leaf: leaf * jnp.nan, first.trainable))
    with pytest.raises(NonFiniteParameters, match="At step 5"):
        store.save(broken, generation=0, step=5, record=RECORD)
    assert not (store.folder / "0/5").exists()


def test_ancestors_follow_the_branches(store: CheckpointStore, first: TrainState) -> None:
    save(store, first, 0, 10, 20)
    branched = Schedule().rolled_back(10)
    assert (store.newest_ancestor(branched, 30).generation, store.newest_ancestor(branched, 30).step) == (0, 10)
    save(store, first, 15, generation=1)
    assert store.newest_ancestor(branched, 30).generation == 1
    assert store.newest_ancestor(branched, 14).step == 10
    assert store.newest_ancestor(Schedule(), 30).step == 20


def test_a_checkpoint_of_another_course_is_no_ancestor(store: CheckpointStore, first: TrainState) -> None:
    save(store, first, 0, 10)
    assert store.newest_ancestor(Schedule().with_rate(0.5, step=10), 12).step == 10
    assert store.newest_ancestor(Schedule().with_rate(0.5, step=9), 12).step == 0


def test_old_checkpoints_go_and_older_generations_stay(store: CheckpointStore, first: TrainState) -> None:
    save(store, first, 0, 10, 20)
    save(store, first, 12, 14, 16, 18, generation=1)
    kept = {folder.name: sorted(int(path.name) for path in folder.iterdir()) for folder in store.folder.iterdir()}
    assert kept == {"0": [0, 10, 20], "1": [14, 16, 18]}


def left_by_kills(*folders: Path) -> list[Path]:
    """Makes of each checkpoint one that no manifest vouches for, and beside it one that Orbax was still writing."""
    halfway = [folder.with_name(f"{folder.name}.orbax-checkpoint-tmp-1") for folder in folders]
    for folder, beside in zip(folders, halfway, strict=True):
        (folder / MANIFEST_NAME).unlink()
        (beside / "state").mkdir(parents=True)
        (beside / "state/array").write_bytes(bytes(1000))
    return [*folders, *halfway]


def test_what_older_generations_never_finished_goes_once_a_newer_one_commits(
    store: CheckpointStore, first: TrainState
) -> None:
    save(store, first, 0, 10, 20)
    unfinished = left_by_kills(*save(store, first, 30), *save(store, first, 15, generation=1))
    CheckpointStore(store.folder, first, store.policy)
    look_at(store.folder, verify=True)
    assert all(path.exists() for path in unfinished)
    save(store, first, 12, generation=2)
    assert [path for path in unfinished if path.exists()] == []
    assert [view.verified for view in look_at(store.folder, verify=True)] == [True] * 4


def test_what_a_newer_generation_has_not_finished_stays(store: CheckpointStore, first: TrainState) -> None:
    unfinished = left_by_kills(*save(store, first, 15, generation=1))
    save(store, first, 10)
    assert all(path.exists() for path in unfinished)


def test_an_older_checkpoint_whose_manifest_cannot_be_read_stays(store: CheckpointStore, first: TrainState) -> None:
    (unreadable,) = save(store, first, 5)
    make_unreadable(unreadable / MANIFEST_NAME)
    save(store, first, 7, generation=1)
    assert largest_file(unreadable).stat().st_size > 0


def test_what_is_unfinished_is_left_to_the_worker_that_took_the_run_over(
    store: CheckpointStore, first: TrainState
) -> None:
    def may_write() -> None:
        if (store.folder / "1/12" / MANIFEST_NAME).exists():
            raise StorageFailed("The run was taken over as soon as this was committed.")

    unfinished = left_by_kills(*save(store, first, 40))
    lost = CheckpointStore(store.folder, first, store.policy, may_write=may_write)
    ref = lost.save(moved(first, 12), generation=1, step=12, record=RECORD)
    assert (ref.generation, ref.step) == (1, 12)
    assert all(path.exists() for path in unfinished)


@pytest.mark.parametrize(
    ("policy", "generation", "expendable"),
    [
        (CheckpointSpec(keep_last=3), 0, [10, 20]),
        (CheckpointSpec(keep_last=3), 1, [0, 10, 20]),
        (CheckpointSpec(keep_last=3, keep_every_steps=20), 0, [10]),
        (CheckpointSpec(keep_last=9), 1, []),
    ],
)
def test_retention_keeps_the_newest_the_multiples_and_the_beginning(
    policy: CheckpointSpec, generation: int, expendable: list[int]
) -> None:
    assert expendable_steps([50, 0, 20, 10, 30, 40], policy, generation=generation) == expendable
