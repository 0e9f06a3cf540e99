"""`aft data report`: what it shows, what it writes, and how it fails."""

import json
import math
from pathlib import Path

import pytest

from aft_contracts import ReportFormat, SampleReport, SamplesReport
from tests.cli.conftest import Aft
from tests.cli.scripted_api import ScriptedApi


def sample(sample_id: str, suspicion: float, **changes: object) -> SampleReport:
    fields = {
        "domain": "chat",
        "suspicion_loss": suspicion,
        "suspicion_grad_norm": suspicion,
        "times_seen": 2,
        "epochs": 2,
        "last_step": 9,
        "tokens": 12,
        "mean_loss": 3.25,
        "last_loss": 3.0,
        "non_finite": 0,
        "withheld": 0,
        "confidence": 0.04,
        "variability": 0.01,
        "forgetting_events": 1,
        "mean_grad_norm": 1.5,
        "max_grad_norm": 2.0,
        "blacklisted": False,
    }
    return SampleReport.model_validate(fields | {"sample_id": sample_id, "suspicion": suspicion} | changes)


@pytest.fixture
def report(api: ScriptedApi) -> SamplesReport:
    evil = sample("evil", 7.5, mean_loss=math.nan, withheld=2, blacklisted=True, correctness=0.25)
    twin = sample("a" * 60, -0.5, duplicates=("b",), duplicate_rows=1)
    shown = SamplesReport(
        run_id="r1", generation=0, step=12, steps_recorded=10, presentations=40, seen=30, rows=35, matching=30,
        samples=(evil, twin),
    )  # fmt: skip
    api.samples = {ReportFormat.JSON: shown.model_dump_json().encode()} | {
        form: f"every sample as {form}".encode() for form in ReportFormat if form is not ReportFormat.JSON
    }
    return shown


@pytest.mark.usefixtures("report")
def test_report_shows_the_suspects_and_what_it_covers(aft: Aft) -> None:
    result = aft("data", "report", "r1")
    assert result.exit_code == 0, result.stderr
    head, lacking, _, evil, twin = result.stdout.splitlines()
    assert head == ("r1: 30 samples seen of 35 rows, 40 presentations up to step 12; 2 of 30 shown")
    assert "lacks 2 of these steps" in lacking
    figures = ["+7.50", "2", "nan", "3", "0.040", "0.010", "0.25", "1", "1.5"]
    assert evil.split() == ["evil", "chat", *figures, "banned,", "withheld", "2x"]
    assert twin.split()[0] == "a" * 60, "people copy ids: none is cut"


@pytest.mark.usefixtures("report")
def test_order_domain_and_limit_are_asked_of_the_api(api: ScriptedApi, aft: Aft) -> None:
    aft("data", "report", "r1", "--order", "forgetting", "--domain", "chat", "--limit", "3")
    assert api.sample_queries == [{"order": "forgetting", "domain": "chat", "limit": "3"}]


def test_json_is_the_report_itself(aft: Aft, report: SamplesReport) -> None:
    assert json.loads(aft("data", "report", "r1", "--json").stdout) == json.loads(report.model_dump_json())


@pytest.mark.usefixtures("report")
def test_files_hold_every_sample(api: ScriptedApi, aft: Aft, tmp_path: Path) -> None:
    paths = {form: tmp_path / f"out.{form}" for form in ("csv", "parquet", "png")}
    result = aft(
        "data", "report", "r1", "--csv", str(paths["csv"]), "--parquet", str(paths["parquet"]),
        "--picture", str(paths["png"]), "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert {form: path.read_text() for form, path in paths.items()} == {
        form: f"every sample as {form}" for form in paths
    }
    assert json.loads(result.stdout)["run_id"] == "r1", "words about files go to stderr"
    assert {query.get("format"): query["limit"] for query in api.sample_queries[1:]} == dict.fromkeys(paths, "10000000")


@pytest.mark.usefixtures("report")
def test_a_file_that_cannot_be_written_is_one_screen(aft: Aft, tmp_path: Path) -> None:
    result = aft("data", "report", "r1", "--csv", str(tmp_path / "no" / "such" / "folder.csv"))
    assert result.exit_code == 1
    assert "file_not_written" in result.stderr


def test_a_run_without_a_report_says_why(aft: Aft) -> None:
    result = aft("data", "report", "r1")
    assert result.exit_code == 1
    assert "nothing_trained_yet" in result.stderr
    assert "run_not_found" in aft("data", "report", "none").stderr
