"""Why something cannot be exported."""

from http import HTTPStatus
from pathlib import Path

from aft_worker.errors import WorkerError


class NothingToExport(WorkerError):
    """The run has no weights of the kind that was asked for."""

    status = HTTPStatus.CONFLICT


class ExportExists(WorkerError):
    """The directory to write already exists."""

    status = HTTPStatus.CONFLICT

    def __init__(self, out_dir: Path) -> None:
        self.out_dir = out_dir
        super().__init__(
            f"{out_dir} already exists; nothing is overwritten. Name another directory.", path=str(out_dir)
        )
