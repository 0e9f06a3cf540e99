"""What the ledger writes: every sample of every step, once, as it was measured."""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aft_contracts import MetricsWindow, Schedule
from aft_worker.ledger.errors import LedgerNotWritten
from aft_worker.ledger.reader import read_ledger
from aft_worker.ledger.schema import PRESENTATIONS
from aft_worker.ledger.writer import Ledger, window_path
from tests.worker.ledger.conftest import window_of


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def test_every_sample_of_every_step_is_a_row_as_it_was_measured(ledger: Ledger) -> None:
    metrics = window_of(4, [("a", 0.1), ("b", math.nan)], [("a", math.inf)], accuracy=0.25)
    ledger.append(metrics, generation=1, index=3)
    table = pq.read_table(window_path(ledger.folder, 1, 3))
    assert table.schema.equals(PRESENTATIONS)
    same = {"generation": 1, "window": 3, "domain": "d", "grad_norm": 0.5, "accuracy": 0.25, "tokens": 8}
    assert [{**row, "loss": repr(row["loss"])} for row in table.to_pylist()] == [
        {**same, "step": step, "sample_id": sample_id, "loss": loss, "applied": True}
        for step, sample_id, loss in [(4, "a", "0.1"), (4, "b", "nan"), (5, "a", "inf")]
    ]


def test_an_accuracy_that_nobody_measured_is_null(ledger: Ledger) -> None:
    ledger.append(window_of(0, [("a", 1.0)]), generation=0, index=0)
    assert pq.read_table(window_path(ledger.folder, 0, 0))["accuracy"].null_count == 1


def test_a_window_that_is_written_again_takes_its_own_place(ledger: Ledger) -> None:
    whole, cancelled = window_of(0, [("a", 1.0)], [("b", 2.0)]), window_of(0, [("a", 1.0)])
    ledger.append(whole, generation=0, index=0)
    first = window_path(ledger.folder, 0, 0).read_bytes()
    ledger.append(whole, generation=0, index=0)
    assert window_path(ledger.folder, 0, 0).read_bytes() == first
    ledger.append(cancelled, generation=0, index=0)
    assert read_ledger(ledger.folder, Schedule(), 2).steps_recorded == 1


def test_a_window_without_a_step_is_an_empty_file(ledger: Ledger) -> None:
    ledger.append(MetricsWindow(window_id="r:0:0", steps=()), generation=0, index=0)
    assert pq.read_table(window_path(ledger.folder, 0, 0)).num_rows == 0


def test_a_crash_while_writing_leaves_no_file_that_counts(ledger: Ledger) -> None:
    ledger.append(window_of(0, [("a", 1.0)]), generation=0, index=0)
    half = window_path(ledger.folder, 0, 1).with_name("0000-00000001.parquet.part")
    half.write_bytes(window_path(ledger.folder, 0, 0).read_bytes()[:40])
    assert read_ledger(ledger.folder, Schedule(), 2).steps_recorded == 1


def test_a_disk_that_refuses_is_told_of_in_words(tmp_path: Path) -> None:
    in_the_way = tmp_path / "ledger"
    in_the_way.write_text("a file where the folder belongs")
    with pytest.raises(LedgerNotWritten, match=r"window r:0:0 .* make room or repair the disk"):
        Ledger(in_the_way).append(window_of(0, [("a", 1.0)]), generation=0, index=0)
    with pytest.raises(LedgerNotWritten, match=r"training rows .* make room or repair the disk"):
        Ledger(in_the_way).write_rows({})
