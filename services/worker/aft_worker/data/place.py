"""Place: where a row stands, in words that people can look up."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Place:
    """A row's file and its line there; for formats without lines, its number among the rows."""

    path: str
    """File, directory or id of the data set."""
    number: int
    """Line or row, counted from 1."""
    unit: Literal["line", "row"] = "line"
    """What is counted."""

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.number}"
