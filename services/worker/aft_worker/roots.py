"""Roots: the folders that models and data must lie in, where the operator has named some."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from aft_contracts import RunSpec
from aft_worker.data.sources.named_paths import named_paths
from aft_worker.errors import WorkerError


class PathOutsideRoots(WorkerError):
    """A path leads out of the folders that this worker reads from."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


def refuse_outside(spec: RunSpec, roots: Sequence[Path]) -> None:
    """Return if everything that the spec has read lies in one of the roots; without roots it may lie anywhere.

    Links are resolved first. An id of the hub, a URL, or anything else that is no file or folder here is outside. In a
    model's folder, what its files link to and name must be inside as well; a data set's may name only what lies below
    its own folder.

    Raises:
        PathOutsideRoots: it does not.
        DataFileUnreadable: a file in which a data set names others cannot be read.
    """
    if not roots:
        return
    resolved = [root.resolve() for root in roots]
    sources = {
        **{f"data.domains.{name}.path": source.path for name, source in spec.data.domains.items()},
        **{f"data.evaluation.{name}.path": source.path for name, source in spec.data.evaluation.items()},
    }
    for field, given in {"model.path": spec.model.path, **sources}.items():
        _refuse(field, given, resolved)
        folder = Path(given)
        if folder.is_dir():
            for inner in folder.rglob("*"):
                if inner.is_symlink():
                    _refuse(field, str(inner), resolved)
    for field, given in sources.items():
        for file, named in named_paths(Path(given)):
            if _may_lead_out(named):
                raise PathOutsideRoots(
                    f"{field} is {given!r}, where {file.name} names {named!r}; where AFT_WORKER_INPUT_ROOTS is set, a "
                    "data set names only what lies below its own folder, by relative paths.",
                    field=field,
                    file=str(file),
                    named=named,
                )


def _may_lead_out(named: str) -> bool:
    """Whether it is anything but a relative path down from where it is named."""
    path = PurePosixPath(named)
    return path.is_absolute() or ".." in path.parts or "::" in named or "://" in named or urlparse(named).scheme != ""


def _refuse(field: str, given: str, roots: Sequence[Path]) -> None:
    try:
        path = Path(given)
        # What is opened is there: `absent/..` is not, though it resolves to what is.
        is_inside = path.exists() and any(path.resolve().is_relative_to(root) for root in roots)
    except (OSError, ValueError, RuntimeError):  # NUL, a name too long, links in a circle
        is_inside = False
    if not is_inside:
        raise PathOutsideRoots(
            f"{field} is {given!r}, which is not a file or folder under {', '.join(map(str, roots))}; "
            "AFT_WORKER_INPUT_ROOTS names where models and data may lie.",
            field=field,
        )
