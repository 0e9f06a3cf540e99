"""What counts: the windows on the run's lineage, and nothing that was rolled back or never committed."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_contracts import Schedule
from aft_worker.ledger.file import file_of, table_of
from aft_worker.ledger.reader import LedgerReading, read_ledger
from aft_worker.ledger.schema import ROWS
from aft_worker.ledger.writer import ROWS_NAME, Ledger, window_path
from tests.worker.ledger.conftest import window_of

ROWS_OF_TWO = pa.table(
    {
        "sample_id": ["a", "b"],
        "domain": pa.array(["d", "d"]).dictionary_encode(),
        "content_hash": ["0123456789abcdef", "fedcba9876543210"],
        "tokens": [8, 9],
        "line": [1, None],
    },
    schema=ROWS,
)


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


def footer_of(content: bytes) -> int:
    """Where the footer of a Parquet file begins."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def flipped(content: bytes, at: int) -> bytes:
    """The content with one bit of the byte at `at` the other way."""
    return content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a byte of the first page": lambda content: flipped(content, 40),
    "a byte in the middle of the data": lambda content: flipped(content, footer_of(content) // 2),
    "a byte of the last page": lambda content: flipped(content, footer_of(content) - 2),
    "the first byte of the footer": lambda content: flipped(content, footer_of(content)),
    "a byte in the middle of the footer": lambda content: flipped(content, (footer_of(content) + len(content)) // 2),
    "the footer's length": lambda content: flipped(content, len(content) - 8),
    "the last byte": lambda content: flipped(content, len(content) - 1),
    "a sector of zeros": lambda content: content[:64] + bytes(512) + content[576:],
    "cut in the data": lambda content: content[: footer_of(content) // 2],
    "cut in the footer": lambda content: content[:-20],
    "nothing": lambda _: b"",
    "not Parquet": lambda _: b"not Parquet",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_window_is_missed_and_the_rest_is_read(ledger: Ledger, damage: str) -> None:
    steps(ledger, 0, 0, 0, 4)
    steps(ledger, 0, 1, 4, 8)
    path = window_path(ledger.folder, 0, 0)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    reading = read_ledger(ledger.folder, Schedule(), 8)
    assert places(reading) == [(step, f"0/{step}") for step in range(4, 8)]
    assert reading.steps_recorded == 4


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_of_rows_is_missed_and_the_presentations_are_read(ledger: Ledger, damage: str) -> None:
    steps(ledger, 0, 0, 0, 4)
    (ledger.folder / ROWS_NAME).write_bytes(DAMAGES[damage](file_of(ROWS_OF_TWO)))
    reading = read_ledger(ledger.folder, Schedule(), 4)
    assert (reading.rows, reading.steps_recorded) == (None, 4)


def test_no_flipped_byte_changes_what_is_read() -> None:
    """The few that may be flipped unnoticed are the name by which the digest is found."""
    content = file_of(ROWS_OF_TWO)
    read = [table_of(flipped(content, at), ROWS) for at in range(len(content))]
    unnoticed = [table for table in read if table is not None]
    assert all(table.equals(ROWS_OF_TWO) for table in unnoticed)
    assert len(unnoticed) < 20


def unsealed(content: bytes) -> bytes:
    """The same table as an older aft wrote it."""
    sink = pa.BufferOutputStream()
    table = pq.read_table(pa.BufferReader(content)).replace_schema_metadata()
    pq.write_table(table, sink, compression="zstd", use_dictionary=["sample_id", "domain"], write_statistics=False)
    return bytes(sink.getvalue())


def test_a_ledger_from_before_seals_is_read(ledger: Ledger) -> None:
    steps(ledger, 0, 0, 0, 4)
    path = window_path(ledger.folder, 0, 0)
    path.write_bytes(unsealed(path.read_bytes()))
    (ledger.folder / ROWS_NAME).write_bytes(unsealed(file_of(ROWS_OF_TWO)))
    reading = read_ledger(ledger.folder, Schedule(), 4)
    assert places(reading) == [(step, f"0/{step}") for step in range(4)]
    assert reading.rows == ROWS_OF_TWO


def test_no_flipped_byte_of_a_file_from_before_seals_breaks_the_reading(ledger: Ledger) -> None:
    steps(ledger, 0, 0, 0, 4)
    path = window_path(ledger.folder, 0, 0)
    content = unsealed(path.read_bytes())
    for at in range(0, len(content), 5):
        path.write_bytes(flipped(content, at))
        assert read_ledger(ledger.folder, Schedule(), 4).steps_recorded <= 4


def test_a_file_that_the_disk_does_not_give_is_not_taken_for_damaged(ledger: Ledger) -> None:
    steps(ledger, 0, 0, 0, 4)
    path = window_path(ledger.folder, 0, 1)
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        read_ledger(ledger.folder, Schedule(), 8)


def test_no_folder_is_an_empty_ledger(tmp_path: Path) -> None:
    reading = read_ledger(tmp_path / "nowhere", Schedule(), 8)
    assert (len(reading.presentations), reading.steps_recorded, reading.rows) == (0, 0, None)
