"""Report: what a benchmark measured, as a table for people and as JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


class Bound(StrEnum):
    """On which side of its target a figure must lie."""

    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that is measured again and again; its name carries its unit and is kept for ever."""

    name: str
    bound: Bound | None = None
    target: float | None = None
    """None for a figure that is only watched."""

    def is_met_by(self, value: float) -> bool | None:
        """Whether `value` reaches the target; None without one."""
        if self.target is None:
            return None
        return value <= self.target if self.bound is Bound.MAX else value >= self.target


def at_most(name: str, target: float) -> Figure:
    """A figure that must not exceed `target`."""
    return Figure(name=name, bound=Bound.MAX, target=target)


def at_least(name: str, target: float) -> Figure:
    """A figure that must reach `target`."""
    return Figure(name=name, bound=Bound.MIN, target=target)


def watched(name: str) -> Figure:
    """A figure without a target."""
    return Figure(name=name)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of one case."""

    case: str
    figure: Figure
    value: float
    interval: tuple[float, float] | None
    """95 % bootstrap interval of the median; None where the value is no median."""

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the file."""
        return {
            "case": self.case,
            "figure": self.figure.name,
            "value": self.value,
            "interval": self.interval,
            "bound": self.figure.bound,
            "target": self.figure.target,
            "ok": self.figure.is_met_by(self.value),
        }


@dataclass(kw_only=True)
class Report:
    """Collects the rows of one run of a benchmark."""

    benchmark: str
    machine: Mapping[str, Any]
    quick: bool = False
    """Whether this was a smoke test, whose figures mean nothing."""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Raw readings by case and name; seconds unless the name says otherwise."""
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    """Whole runs, where a benchmark is made of such."""

    def add(self, case: str, figure: Figure, value: float, interval: tuple[float, float] | None = None) -> None:
        """Adds a row.

        Raises:
            ValueError: the value is not finite; what was not measured has no row but a note.
        """
        if not math.isfinite(value):
            raise ValueError(f"{figure.name} of {case} is {value}; leave the row out and add a note")
        self.rows.append(Row(case=case, figure=figure, value=float(value), interval=interval))

    def note(self, text: str) -> None:
        """Adds a sentence that belongs below the table."""
        self.notes.append(text)

    def keep(self, case: str, readings: Mapping[str, Sequence[float]]) -> None:
        """Keeps raw readings for the file."""
        self.samples.setdefault(case, {}).update({name: [*map(float, values)] for name, values in readings.items()})

    @property
    def misses(self) -> list[Row]:
        """Rows that do not reach their target."""
        return [row for row in self.rows if row.figure.is_met_by(row.value) is False]

    def as_json(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "benchmark": self.benchmark,
            "quick": self.quick,
            "machine": dict(self.machine),
            "rows": [row.as_json() for row in self.rows],
            "notes": self.notes,
            "samples": self.samples,
            "outcomes": self.outcomes,
        }

    def write(self, path: Path) -> None:
        """Writes the report to `path`, whose folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n")

    def print_table(self, console: Console) -> None:
        """Prints rows and notes."""
        title = f"{self.benchmark} (quick: figures mean nothing)" if self.quick else self.benchmark
        table = Table(title=title, title_justify="left")
        for heading in ("case", "figure"):
            table.add_column(heading, no_wrap=True)
        for heading in ("value", "95 %", "target", "ok"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row, before in zip(self.rows, [None, *self.rows], strict=False):
            is_first = before is None or before.case != row.case
            table.add_row(row.case if is_first else "", row.figure.name, *_cells(row))
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)


def _cells(row: Row) -> tuple[str, str, str, str]:
    is_met = row.figure.is_met_by(row.value)
    sign = {None: "", Bound.MAX: "≤ ", Bound.MIN: "≥ "}[row.figure.bound]
    return (
        _short(row.value),
        "" if row.interval is None else " to ".join(map(_short, row.interval)),
        "" if row.figure.target is None else f"{sign}{_short(row.figure.target)}",
        {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[is_met],
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
