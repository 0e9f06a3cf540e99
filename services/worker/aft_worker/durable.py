"""Files that are there whole or not at all, even after a power cut."""

import os
import secrets
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Replaces `path` by `content`: a crash at any moment leaves either the old file or the new one."""
    _write_beside(path, path.name + ".part", content).replace(path)
    _sync_folder(path)


def write_once(path: Path, content: bytes) -> None:
    """Makes `path` with `content`, unless it is there already.

    Raises:
        FileExistsError: it is, and stays as it was.
    """
    # A name of its own: whoever else comes here, from another machine perhaps, must not write into ours.
    beside = _write_beside(path, f"{path.name}.{secrets.token_hex(4)}.part", content)
    try:
        os.link(beside, path)  # unlike a rename it never replaces what somebody else has put there
    finally:
        beside.unlink()
    _sync_folder(path)


def _write_beside(path: Path, name: str, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(name)
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _sync_folder(path: Path) -> None:
    # The new name itself lives in the folder, which has to reach the disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
