"""The benchmark of the control plane from end to end, small: processes, change of owner and all."""

from argparse import Namespace

import pytest

from benchmarks import control_plane
from benchmarks.report import Report


@pytest.mark.slow
def test_control_plane() -> None:
    report = Report(benchmark="smoke", machine={}, quick=True)
    control_plane.measure(report, Namespace())
    figures = {row.figure.name: row for row in report.rows if row.figure.target is not None}
    assert {name: row.figure.target for name, row in figures.items()} == {
        "cpu_ms_per_window": 25,
        "p99_get_ms": 100,
        "kib_per_parked_run": 100,
        "scale_ratio": 1.3,
        "takeover_s": control_plane.QUICK.lease_s,
        "runs_unfinished": 0,
        "windows_trained_twice": 0,
    }
    assert figures["runs_unfinished"].value == figures["windows_trained_twice"].value == 0
    assert next(row.value for row in report.rows if row.figure.name == "runs_taken_over") > 0
    assert len(report.samples["4 runs x 48 windows of 0.4 to 0.6 s"]["get_s"]) > 20
