"""The storage root's own id: two workers that see the same one share their files."""

import os
import secrets
from pathlib import Path

ID_NAME = ".aft-root"


def root_id_of(root: Path) -> str:
    """The id that is kept in `root`, made now if there is none; one wins when several workers come at once."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / ID_NAME
    if not path.is_file():
        own = root / f"{ID_NAME}.{secrets.token_hex(8)}"
        own.write_text(f"root-{secrets.token_hex(16)}\n")
        try:
            os.link(own, path)  # fails where the name exists: the first one stays
        except FileExistsError:
            pass
        finally:
            own.unlink()
    return path.read_text().strip()
