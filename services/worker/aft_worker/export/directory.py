"""Directories that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aft_worker.durable import rename_durably, unfinished
from aft_worker.export.errors import ExportExists


@contextmanager
def written_whole(out_dir: Path) -> Iterator[Path]:
    """A directory beside `out_dir` to write into; it takes that name when the block ends without an error.

    Raises:
        ExportExists: something of that name is there already.
    """
    if out_dir.exists():
        raise ExportExists(out_dir)
    draft = unfinished(out_dir)
    draft.mkdir(parents=True)
    try:
        yield draft
        rename_durably(draft, out_dir)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
