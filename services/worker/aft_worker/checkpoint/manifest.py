"""The manifest that makes a checkpoint count: what every file of it must hash to.

Orbax restores a flipped bit without a word, and its own commit marker says nothing about content. The manifest is
written last, so a folder without one was never finished.
"""

import hashlib
import os
from pathlib import Path

from pydantic import Field, ValidationError

from aft_contracts.contract import Contract
from aft_worker.checkpoint.errors import DamagedCheckpoint
from aft_worker.durable import write_once

MANIFEST_NAME = "manifest.json"


class FileEntry(Contract):
    """A file as it was committed."""

    sha256: str
    """Sha256 of its content, in hex."""
    size: int = Field(ge=0)
    """Its size in bytes."""


class Manifest(Contract):
    """Every file of a checkpoint, and what its state must be."""

    generation: int = Field(ge=0)
    """Generation it belongs to."""
    step: int = Field(ge=0)
    """Optimizer steps attempted when it was taken."""
    state_digest: str
    """Sha256 over the trainable parameters and optimizer state, in hex."""
    finite_parameters: bool
    """Whether every trained parameter was finite."""
    files: dict[str, FileEntry]
    """Every file but the manifest, by path inside the checkpoint."""


def write_manifest(folder: Path, *, generation: int, step: int, state_digest: str) -> str:
    """Commits the checkpoint in `folder`, whose parameters are finite; gives back the manifest's sha256 in hex.

    Raises:
        FileExistsError: another worker has committed there meanwhile; its manifest stands.
    """
    manifest = Manifest(
        generation=generation,
        step=step,
        state_digest=state_digest,
        finite_parameters=True,
        files={name: _entry(folder / name, sync=True) for name in _file_names(folder)},
    )
    content = manifest.model_dump_json(indent=1).encode()
    write_once(folder / MANIFEST_NAME, content)
    return hashlib.sha256(content).hexdigest()


def verified_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest of an undamaged checkpoint, and its sha256 in hex.

    Raises:
        DamagedCheckpoint: the manifest is missing or makes no sense, or a file is missing or differs from it.
        OSError: a file cannot be read, so nobody can tell whether it is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
        manifest = Manifest.model_validate_json(content)
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{folder} has no {MANIFEST_NAME}: it was never committed.") from error
    except ValidationError as error:
        raise DamagedCheckpoint(f"{path} cannot be read.") from error
    for name, expected in manifest.files.items():
        if not (folder / name).is_file():
            raise DamagedCheckpoint(f"{folder / name} is missing.")
        # The size first: a truncated file is told without reading it.
        if (folder / name).stat().st_size != expected.size or _entry(folder / name) != expected:
            raise DamagedCheckpoint(f"{folder / name} differs from the manifest.")
    if not manifest.finite_parameters:
        raise DamagedCheckpoint(f"{folder} holds parameters that are not finite.")
    return manifest, hashlib.sha256(content).hexdigest()


def files_of(folder: Path) -> list[Path]:
    """Every file below `folder`, the manifest among them."""
    return [path for path in folder.rglob("*") if path.is_file()]


def _file_names(folder: Path) -> list[str]:
    return sorted(name for path in files_of(folder) if (name := path.relative_to(folder).as_posix()) != MANIFEST_NAME)


def _entry(path: Path, *, sync: bool = False) -> FileEntry:
    with path.open("rb") as file:
        # Orbax leaves flushing to the system; a manifest that survives a power cut must not outlive its files.
        if sync:
            os.fsync(file.fileno())
        sha = hashlib.file_digest(file, "sha256")
        return FileEntry(sha256=sha.hexdigest(), size=file.tell())
