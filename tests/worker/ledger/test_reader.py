"""What counts: the windows on the run's lineage, and nothing that was rolled back or never committed."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_contracts import Schedule
from aft_worker.ledger.reader import LedgerReading, read_ledger
from aft_worker.ledger.writer import Ledger, window_path
from tests.worker.ledger.conftest import window_of


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def places(reading: LedgerReading) -> list[tuple[int, str]]:
    """Step and sample of each presentation."""
    seen = reading.presentations
    return list(zip(seen.step.tolist(), seen.sample_ids[seen.sample].tolist(), strict=True))


def steps(ledger: Ledger, generation: int, index: int, start: int, stop: int) -> None:
    """A window whose every step holds one sample, named after generation and step."""
    seen = [[(f"{generation}/{step}", 1.0)] for step in range(start, stop)]
    ledger.append(window_of(start, *seen), generation=generation, index=index)


def test_steps_behind_the_newest_commit_do_not_count(ledger: Ledger) -> None:
    steps(ledger, 0, 0, 0, 4)
    steps(ledger, 0, 1, 4, 8)
    reading = read_ledger(ledger.folder, Schedule(), 4)
    assert places(reading) == [(step, f"0/{step}") for step in range(4)]
    assert reading.steps_recorded == 4


def test_a_rollback_takes_back_what_came_after_it(ledger: Ledger) -> None:
    """Also in the middle of a window, and over several generations."""
    steps(ledger, 0, 0, 0, 4)
    steps(ledger, 0, 1, 4, 8)
    steps(ledger, 1, 2, 6, 10)
    steps(ledger, 2, 3, 2, 5)
    schedule = Schedule().rolled_back(6).rolled_back(2)
    after = [(0, "0/0"), (1, "0/1"), *[(s, f"2/{s}") for s in (2, 3, 4)]]
    assert places(read_ledger(ledger.folder, schedule, 5)) == after
    before = places(read_ledger(ledger.folder, Schedule().rolled_back(6), 10))
    assert before == [*[(s, f"0/{s}") for s in range(6)], *[(s, f"1/{s}") for s in range(6, 10)]]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1), st.booleans()), min_size=1, max_size=8))
def test_each_step_of_any_history_counts_once(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[int, float, bool]]
) -> None:
    """Each entry trains a window of so many steps, and may then roll back to a share of the steps so far."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    schedule, step, truth = Schedule(), 0, {}
    for index, (length, share, rolls_back) in enumerate(history):
        generation = schedule.generation
        steps(ledger, generation, index, step, step + length)
        truth |= {at: f"{generation}/{at}" for at in range(step, step + length)}
        step += length
        if rolls_back:
            step = int(share * step)
            schedule = schedule.rolled_back(step)
            truth = {at: name for at, name in truth.items() if at < step}
    steps(ledger, schedule.generation, len(history), step, step + 3)  # never committed
    assert dict(places(read_ledger(ledger.folder, schedule, step))) == truth
    assert len(places(read_ledger(ledger.folder, schedule, step))) == step


def test_samples_stay_in_the_order_of_their_batch(ledger: Ledger) -> None:
    ledger.append(window_of(1, [("b", 1.0), ("a", 1.0)]), generation=0, index=1)
    ledger.append(window_of(0, [("c", 1.0), ("a", 1.0)]), generation=0, index=0)
    assert places(read_ledger(ledger.folder, Schedule(), 2)) == [(0, "c"), (0, "a"), (1, "b"), (1, "a")]


def test_a_sample_without_loss_shows_nothing(ledger: Ledger) -> None:
    ledger.append(window_of(0, [("a", 0.0)], tokens=0), generation=0, index=0)
    reading = read_ledger(ledger.folder, Schedule(), 1)
    assert (len(reading.presentations), reading.steps_recorded) == (0, 1)


def test_a_damaged_file_is_missed_and_the_rest_is_read(ledger: Ledger) -> None:
    steps(ledger, 0, 0, 0, 4)
    steps(ledger, 0, 1, 4, 8)
    window_path(ledger.folder, 0, 0).write_bytes(b"not Parquet")
    assert read_ledger(ledger.folder, Schedule(), 8).steps_recorded == 4


def test_no_folder_is_an_empty_ledger(tmp_path: Path) -> None:
    reading = read_ledger(tmp_path / "nowhere", Schedule(), 8)
    assert (len(reading.presentations), reading.steps_recorded, reading.rows) == (0, 0, None)
