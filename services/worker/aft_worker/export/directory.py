"""Directories that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aft_worker.durable import rename_durably
from aft_worker.export.errors import ExportExists


@contextmanager
def written_whole(out_dir: Path) -> Iterator[Path]:
    """A directory beside `out_dir` to write into; it takes that name when the block ends without an error.

    Raises:
        ExportExists: something of that name is there already.
    """
    if out_dir.exists():
        raise ExportExists(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        rename_durably(unfinished, out_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
