"""Files that are there whole or not at all, even after a power cut."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFT_AFTER_S = 3600.0
"""What nobody has written to for so long was left by a kill; a shorter while ago, another may be at it still."""

_UNFINISHED = re.compile(r".+\.[0-9a-f]{8}\.part")


def write_durably(path: Path, content: bytes) -> None:
    """Replaces `path` by `content`: a crash at any moment leaves either the old file or the new one."""
    with _written_beside(path, content) as beside:
        beside.replace(path)
    _sync(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """Makes `path` with `content`, unless it is there already.

    Raises:
        FileExistsError: it is, and stays as it was.
    """
    with _written_beside(path, content) as beside:
        os.link(beside, path)  # unlike a rename it never replaces what somebody else has put there
    _sync(path.parent)


def rename_durably(folder: Path, path: Path) -> None:
    """Gives `folder` the name `path`: whatever bears that name after a crash is there with all its files."""
    for part in (*folder.rglob("*"), folder):
        _sync(part)
    folder.rename(path)
    _sync(path.parent)


def unfinished(path: Path) -> Path:
    """A name beside `path` for what is to become it: nobody else's, on any machine, and known to `sweep`."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")


def sweep(folder: Path) -> None:
    """Removes from `folder`, and the folders in it, what kills have left unfinished."""
    for path in [path for path in folder.rglob("*.part") if _UNFINISHED.fullmatch(path.name)]:
        with suppress(FileNotFoundError):  # finished meanwhile
            if time.time() - max(one.stat().st_mtime for one in (path, *path.rglob("*"))) > LEFT_AFTER_S:
                remove = shutil.rmtree if path.is_dir() else Path.unlink
                remove(path)


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """The content on disk beside `path`, under a name that is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = unfinished(path)
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    # Of a folder too: a new name lives there, and has to reach the disk like what it names.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
