"""Data sets: whatever the library `datasets` opens, from a directory or from the Hugging Face hub.

Releases of `datasets` that the extra allows run no code of a data set; one that needs a script is refused by them.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from aft_contracts import SourceSpec
from aft_worker.data.errors import BadRow, DataFileMissing, DataFileUnreadable, DatasetsMissing, SplitMissing
from aft_worker.data.sources.arrow import BATCH_ROWS, rows_of, wanted_columns
from aft_worker.data.sources.raw import RawRow

SAVED_MARKS = ("state.json", "dataset_dict.json")
"""A directory that `save_to_disk` wrote holds one of these."""
LONGEST_REASON = 300
"""Characters of the library's own words."""


def read_dataset(source: SourceSpec, wanted: frozenset[str], *, streamed: bool) -> Iterator[RawRow | BadRow]:
    """Every row of one split in order; streamed, nothing is prepared beforehand, for whoever reads only the first rows.

    Raises:
        DatasetsMissing: the extra `datasets` is not installed.
        DataFileMissing, DataFileUnreadable, SplitMissing: there is nothing to read from.
    """
    library = _library()
    folder = Path(source.path)
    if folder.is_absolute() and not folder.exists():
        raise DataFileMissing(source.path)
    is_saved = any((folder / mark).is_file() for mark in SAVED_MARKS)
    rows = _told(library, source, lambda: _saved(library, source) if is_saved else _loaded(library, source, streamed))
    if rows.column_names is not None:
        rows = rows.select_columns(wanted_columns(list(rows.column_names), wanted))
    # As Arrow nothing is decoded on the way, such as the images beside a text.
    batches = rows_of(source.path, rows.with_format("arrow").iter(batch_size=BATCH_ROWS))
    while (row := _told(library, source, lambda: next(batches, None))) is not None:
        yield row


def _library() -> Any:
    try:
        library = import_module("datasets")
    except ImportError as error:
        raise DatasetsMissing(
            "The worker lacks the library `datasets`; install it there with `pip install 'aft[datasets]'`, "
            "or save the rows as JSONL, Parquet, CSV or text."
        ) from error
    library.disable_progress_bars()
    return library


def _saved(library: Any, source: SourceSpec) -> Any:
    found = library.load_from_disk(source.path)
    if isinstance(found, dict):
        return found[_split_of(source, list(found))]
    if source.split is not None:
        _split_of(source, [str(found.split)])
    return found


def _loaded(library: Any, source: SourceSpec, streamed: bool) -> Any:
    which = {"name": source.name, "revision": source.revision}
    if source.split is not None and any(sign in source.split for sign in "[+"):
        # An expression such as train[:10%], which only a prepared data set can answer.
        return library.load_dataset(source.path, split=source.split, **which)
    names = library.get_dataset_split_names(source.path, source.name, revision=source.revision)
    return library.load_dataset(source.path, split=_split_of(source, names), streaming=streamed, **which)


def _split_of(source: SourceSpec, names: list[str]) -> str:
    if source.split in names:
        return str(source.split)
    if source.split is None and ("train" in names or len(names) == 1):
        return "train" if "train" in names else names[0]
    asked = "says no `split`" if source.split is None else f"says `split` {source.split!r}"
    raise SplitMissing(
        f"The config {asked}, the data set {source.path!r} has {sorted(names)}; say one of them.",
        path=source.path,
        splits=sorted(names),
    )


def _told(library: Any, source: SourceSpec, step: Callable[[], Any]) -> Any:
    """What `step` gives, the library's failures turned into ours."""
    try:
        return step()
    # Connection errors are OSErrors; the rest is what it and the libraries below it raise for data they cannot take.
    except (
        library.exceptions.DatasetsError,
        pa.ArrowException,
        httpx.HTTPError,
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
    ) as error:
        raise DataFileUnreadable(
            f"{source.path!r} cannot be opened as a data set ({_reason(error)}).", path=source.path
        ) from error


def _reason(error: Exception) -> str:
    # Arrow and the codecs quote the value that they stumble over, which may be a person's text.
    if isinstance(error, pa.ArrowException | UnicodeError):
        return type(error).__name__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_REASON]}"
