"""The newest commit of a run, read without loading the run: from any thread, while another one trains."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from aft_contracts import Schedule
from aft_worker.checkpoint.manifest import MANIFEST_NAME, Manifest
from aft_worker.checkpoint.record import CheckpointRecord

_RECORD = "record/metadata"
"""Where Orbax writes the record of a checkpoint, as JSON."""


@dataclass(frozen=True, kw_only=True)
class NewestCommit:
    """Where a run stands on disk."""

    generation: int
    step: int
    """Optimizer steps attempted when it was taken."""
    schedule: Schedule
    """The course that led there."""


def newest_commit(folder: Path) -> NewestCommit | None:
    """The newest committed checkpoint of the newest generation in `folder`; None while nothing is committed.

    Only the record is held against the manifest: a damaged state does not unmake what was trained.
    """
    for generation, step in sorted(_places(folder), reverse=True):
        record = _record(folder / str(generation) / str(step))
        if record is not None:
            return NewestCommit(generation=generation, step=step, schedule=record.schedule)
    return None


def _places(folder: Path) -> list[tuple[int, int]]:
    manifests = folder.glob(f"*/*/{MANIFEST_NAME}")
    names = [(path.parent.parent.name, path.parent.name) for path in manifests]
    return [(int(generation), int(step)) for generation, step in names if generation.isdigit() and step.isdigit()]


def _record(checkpoint: Path) -> CheckpointRecord | None:
    """The record as it was committed; None where it is damaged, or was pruned while we looked."""
    try:
        manifest = Manifest.model_validate_json((checkpoint / MANIFEST_NAME).read_bytes())
        content = (checkpoint / _RECORD).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.files[_RECORD].sha256:
            return None
        return CheckpointRecord.model_validate_json(content)
    except (FileNotFoundError, KeyError, ValidationError):
        return None
