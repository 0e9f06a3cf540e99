"""The report's shape, and when a figure reaches its target."""

import json
import math
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.machine import machine
from benchmarks.report import Report, at_least, at_most, watched


@pytest.fixture
def report() -> Report:
    """One row of each kind."""
    report = Report(benchmark="forensics_overhead", machine={"cpu": "any"})
    report.add("B=8", at_most("time_ratio", 1.05), 1.04, (1.02, 1.06))
    report.add("B=8", at_least("share_of_matmul_peak", 0.65), 0.5)
    report.add("B=8", watched("save_ms"), 12)
    return report


def test_a_row_says_its_target_on_which_side_and_whether_it_is_reached(report: Report) -> None:
    assert report.as_json()["rows"] == [
        {
            "case": "B=8",
            "figure": "time_ratio",
            "value": 1.04,
            "interval": (1.02, 1.06),
            "bound": "max",
            "target": 1.05,
            "ok": True,
        },
        {
            "case": "B=8",
            "figure": "share_of_matmul_peak",
            "value": 0.5,
            "interval": None,
            "bound": "min",
            "target": 0.65,
            "ok": False,
        },
        {
            "case": "B=8",
            "figure": "save_ms",
            "value": 12.0,
            "interval": None,
            "bound": None,
            "target": None,
            "ok": None,
        },
    ]


@pytest.mark.parametrize("figure", [at_most("ratio", 1.05), at_least("ratio", 1.05)])
def test_the_target_itself_is_reached(figure) -> None:
    assert figure.is_met_by(1.05)


def test_only_missed_targets_are_misses(report: Report) -> None:
    assert [row.figure.name for row in report.misses] == ["share_of_matmul_peak"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_was_not_measured_has_no_row(report: Report, value: float) -> None:
    with pytest.raises(ValueError, match="leave the row out"):
        report.add("B=8", watched("save_ms"), value)


def test_the_file_holds_rows_machine_notes_and_samples(report: Report, tmp_path: Path) -> None:
    report.note("TRL was not measured.")
    report.keep("B=8", {"with": (0.5, 0.25)})
    report.keep("B=8", {"without": (0.5, 0.5)})
    report.write(tmp_path / "new" / "report.json")
    read = json.loads((tmp_path / "new" / "report.json").read_text())
    assert set(read) == {"benchmark", "quick", "machine", "rows", "notes", "samples", "outcomes"}
    assert (read["benchmark"], read["quick"], read["machine"]) == ("forensics_overhead", False, {"cpu": "any"})
    assert read["notes"] == ["TRL was not measured."]
    assert read["samples"] == {"B=8": {"with": [0.5, 0.25], "without": [0.5, 0.5]}}


def test_the_table_shows_rows_and_notes(report: Report) -> None:
    report.note("TRL was not measured.")
    console = Console(file=StringIO(), width=120)
    report.print_table(console)
    shown = console.file.getvalue()
    assert all(text in shown for text in ("time_ratio", "1.02 to 1.06", "≤ 1.05", "≥ 0.65", "TRL was not measured."))


def test_the_machine_is_known_by_its_figures() -> None:
    known = machine()
    assert known["cpu"]
    assert known["cores"] >= 1
    assert known["memory_gib"] > 0.1
    assert len(known["load_average"]) == 3
    assert {"python", "jax", "aft"} <= set(known["versions"])
    json.dumps(known, allow_nan=False)
