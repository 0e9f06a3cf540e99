"""A look at a run's checkpoints from outside: needs no device, no loaded run, not even a running worker."""

from datetime import UTC, datetime
from pathlib import Path

from aft_contracts import CheckpointView
from aft_worker.checkpoint.errors import DamagedCheckpoint
from aft_worker.checkpoint.manifest import MANIFEST_NAME, files_of, verified_manifest


def look_at(folder: Path, *, verify: bool) -> tuple[CheckpointView, ...]:
    """The checkpoints in `folder` (`<generation>/<step>/`), by generation and step; none where there is no folder.

    With `verify` every file is read and compared with its manifest. Checkpoints may come and go meanwhile.
    """
    views = (
        _view(folder / str(generation) / str(step), generation, step, verify)
        for generation in numbered(folder)
        for step in numbered(folder / str(generation))
    )
    return tuple(view for view in views if view is not None)


def numbered(folder: Path) -> list[int]:
    """The folders in `folder` whose name is a number, ascending; Orbax names what it has not finished otherwise."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in paths if path.name.isdigit() and path.is_dir())


def _view(folder: Path, generation: int, step: int, verify: bool) -> CheckpointView | None:
    """The checkpoint, or None if it went while it was looked at."""
    try:
        damage = _damage(folder, generation, step) if verify and _is_committed(folder) else None
        size_bytes = sum(path.stat().st_size for path in files_of(folder))
        # Asked last: one that is pruned while it is read loses its manifest first, and is not damaged but going.
        committed = _is_committed(folder)
        written_at = (folder / MANIFEST_NAME if committed else folder).stat().st_mtime
    except FileNotFoundError:
        return None
    return CheckpointView(
        generation=generation,
        step=step,
        committed=committed,
        size_bytes=size_bytes,
        written_at=datetime.fromtimestamp(written_at, UTC),
        verified=damage is None if verify and committed else None,
        damage=damage if committed else None,
    )


def _damage(folder: Path, generation: int, step: int) -> str | None:
    try:
        manifest, _ = verified_manifest(folder)
    except DamagedCheckpoint as damage:
        return str(damage)
    except FileNotFoundError:
        raise
    except OSError as error:
        return f"{folder} cannot be read ({error})."
    if (manifest.generation, manifest.step) != (generation, step):
        return f"{folder} holds the checkpoint of step {manifest.step} of generation {manifest.generation}."
    return None


def _is_committed(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).is_file()
