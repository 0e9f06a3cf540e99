"""Each benchmark runs from end to end and reports its figures; their values mean nothing at this size."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import forensics_overhead, throughput, window_overhead
from benchmarks.report import Report
from benchmarks.runs import run_spec
from benchmarks.startup import Starts


@pytest.fixture
def report() -> Report:
    """An empty one that asks for a smoke test."""
    return Report(benchmark="smoke", machine={}, quick=True)


def targets(report: Report) -> dict[str, float | None]:
    """Figures that have a target, by name."""
    return {row.figure.name: row.figure.target for row in report.rows if row.figure.target is not None}


def test_forensics_overhead(report: Report) -> None:
    forensics_overhead.measure(report, Namespace())
    assert targets(report) == {"time_ratio": 1.05, "memory_ratio": 1.05, "memory_vs_vmap": 0.6}
    (case,) = report.samples
    assert {"with", "without", "without_norms", "autodiff", "one_product", "vmap"} <= set(report.samples[case])


def test_window_overhead(report: Report) -> None:
    window_overhead.measure(report, Namespace())
    assert targets(report) == {"window_ratio": 1.03}
    parts = {"host_ms", "data_ms", "rates_ms", "dispatch_ms", "digest_ms", "ledger_ms", "checkpoint_ms", "step_ms"}
    assert parts <= {row.figure.name for row in report.rows}
    assert all(row.value > 0 for row in report.rows)


def test_throughput_says_what_it_could_not_measure(report: Report) -> None:
    throughput.measure(report, Namespace(peer_python=Path("nowhere/python")))
    assert targets(report) == {"share_of_matmul_peak": 0.65}
    assert report.notes == ["tokens_ratio_vs_trl was not measured: --peer-python nowhere/python is not there."]
    assert 0 < next(row.value for row in report.rows if row.figure.name == "share_of_matmul_peak") < 1


def test_a_second_start_finds_every_program_of_the_first(tmp_path: Path) -> None:
    starts = Starts(run_spec("tiny", batch_size=2, length=32, lora=True), tmp_path, cache="one")
    cold, warm = starts(), starts()
    readings = starts.readings
    assert readings["start_s"] == [cold, warm]
    phases = ["imports_s", "devices_s", "load_s", "session_s", "first_step_s"]
    assert sum(readings[phase][0] for phase in phases) == pytest.approx(cold, abs=0.01)
    assert readings["cache_hits"][0] == readings["cache_misses"][1] == 0
    assert readings["cache_misses"][0] == readings["cache_hits"][1] > 0
