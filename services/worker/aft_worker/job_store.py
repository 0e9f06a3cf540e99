"""JobStore: accepted jobs and their results on disk, one file each under the run's folder."""

from pathlib import Path
from typing import Any, Generic
from urllib.parse import quote

from aft_contracts import JobRequest, JobView
from aft_contracts.contract import Contract
from aft_contracts.job import ResultT, SpecT
from aft_worker.durable import write_durably
from aft_worker.job_kinds import JobKind
from aft_worker.refusals import InvalidId

_LONGEST_NAME_BYTES = 200
"""File systems take 255, and the writer adds an ending."""


class StoredJob(Contract, Generic[SpecT, ResultT]):
    """A job as it is kept: a status that is not final means that it was accepted and no more is known."""

    request: JobRequest[SpecT]
    """What was asked."""
    view: JobView[ResultT]
    """What came of it."""
    cancel_requested: bool = False
    """Whether somebody asked to stop it."""


def stored_type(kind: JobKind) -> type[StoredJob[Any, Any]]:
    """The shape of this kind's files."""
    return StoredJob[kind.spec_type, kind.result_type]  # type: ignore[name-defined]


class JobStore:
    """Writes and finds job files, `<root>/<run_id>/jobs/<kind>/<job_id>.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, kind: JobKind, run_id: str, job: StoredJob[Any, Any]) -> None:
        """Keeps a job; it is on disk when this returns."""
        path = self.root / run_id / "jobs" / kind.name / _file_name(job.view.job_id)
        write_durably(path, job.model_dump_json().encode())

    def find(self, kind: JobKind, job_id: str) -> StoredJob[Any, Any] | None:
        """The job of that id, whichever run it belongs to."""
        # Quoting leaves no character that means something in a pattern.
        path = next(self.root.glob(f"*/jobs/{kind.name}/{_file_name(job_id)}"), None)
        if path is None:
            return None
        return stored_type(kind).model_validate_json(path.read_bytes())


def _file_name(job_id: str) -> str:
    name = quote(job_id, safe="") + ".json"
    if len(name) > _LONGEST_NAME_BYTES:
        raise InvalidId(f"Job id of {len(job_id)} characters is too long to name a file; use fewer than 60.")
    return name
