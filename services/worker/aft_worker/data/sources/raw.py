"""RawRow: a row as its file has it, before anyone asks what it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aft_worker.data.place import Place


@dataclass(frozen=True, kw_only=True)
class RawRow:
    """A row's fields by column, and where it stands."""

    place: Place
    """File and line."""
    fields: Mapping[str, Any]
    """Values as Python has them; null where the format has a word for it."""
