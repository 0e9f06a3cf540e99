"""JobStore: accepted jobs and their results on disk, one file each under the run's folder, until they are settled."""

from collections.abc import Collection
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
        self._run_of: dict[tuple[str, str], str] = {}
        """Which run a job belongs to, by kind and file name, as far as it was written here and is kept."""

    def write(self, kind: JobKind, run_id: str, job: StoredJob[Any, Any]) -> None:
        """Keeps a job; it is on disk when this returns."""
        name = _file_name(job.view.job_id)
        write_durably(self._folder(run_id) / kind.name / name, job.model_dump_json().encode())
        self._run_of[kind.name, name] = run_id

    def find(self, kind: JobKind, job_id: str, *, run_id: str | None = None) -> StoredJob[Any, Any] | None:
        """The job of that id, of `run_id` or of whichever run it belongs to."""
        name = _file_name(job_id)
        home = run_id or self._run_of.get((kind.name, name))
        if home is None:
            # Written before this process began. Quoting leaves no character that means something in a pattern.
            path = next(self.root.glob(f"*/jobs/{kind.name}/{name}"), None)
        else:
            path = self._folder(home) / kind.name / name
        try:
            return None if path is None else stored_type(kind).model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None

    def forget(self, run_id: str, *, but: Collection[tuple[str, str]]) -> None:
        """Removes the run's jobs, but those of these kinds and ids."""
        kept = {(kind, _file_name(job_id)) for kind, job_id in but}
        for path in self._folder(run_id).glob("*/*.json"):
            key = path.parent.name, path.name
            if key not in kept:
                path.unlink(missing_ok=True)
                self._run_of.pop(key, None)

    def _folder(self, run_id: str) -> Path:
        return self.root / run_id / "jobs"


def _file_name(job_id: str) -> str:
    name = quote(job_id, safe="") + ".json"
    if len(name) > _LONGEST_NAME_BYTES:
        raise InvalidId(f"Job id of {len(job_id)} characters is too long to name a file; use fewer than 60.")
    return name
