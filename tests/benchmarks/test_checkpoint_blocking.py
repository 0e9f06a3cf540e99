"""The benchmark runs from end to end and reports its figures; their values mean nothing at this size."""

from argparse import Namespace

from benchmarks import checkpoint_blocking
from benchmarks.report import Report


def test_checkpoint_blocking() -> None:
    report = Report(benchmark="smoke", machine={}, quick=True)
    checkpoint_blocking.measure(report, Namespace())
    assert [(row.figure.name, row.figure.target) for row in report.rows] == [
        ("blocking_ms", 50),
        ("save_ms", None),
        ("contention_ms", None),
        ("step_ms", None),
    ]
    (readings,) = report.samples.values()
    assert [len(values) for values in readings.values()] == [checkpoint_blocking.QUICK[0].saves] * 4
    assert all(0 < blocked < saved for blocked, saved in zip(readings["blocking_ms"], readings["save_ms"], strict=True))
