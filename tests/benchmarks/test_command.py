"""The command line reports; it fails only where it is asked to check."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.command import run
from benchmarks.report import at_most


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch):
    def run_(*arguments: str, value: float = 2.0) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        return run("any", lambda report, _: report.add("case", at_most("ratio", 1.0), value))

    return run_


def test_a_missed_target_is_reported_and_no_failure(run_with, tmp_path: Path) -> None:
    assert run_with("--json", str(tmp_path / "any.json"), "--quick") == 0
    read = json.loads((tmp_path / "any.json").read_text())
    assert (read["benchmark"], read["quick"]) == ("any", True)
    assert [(row["value"], row["ok"]) for row in read["rows"]] == [(2.0, False)]


def test_check_fails_on_a_missed_target_alone(run_with) -> None:
    assert (run_with("--check"), run_with("--check", value=1.0)) == (1, 0)
