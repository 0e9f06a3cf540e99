"""Each data fault spoils the rows it says, and each control leaves every row as valid as it was."""

import base64
import csv
import io

import numpy as np
import pytest

from aft_contracts import Schedule, Verdict
from aft_worker.data.plan import DataPlan
from benchmarks.faults.base_model import LENGTH, tokenizer
from benchmarks.faults.case import FIRST_STEPS, ROWS, STEPS, Case, Row, held_out_rows
from benchmarks.faults.controls import HarderMix, HardRareRows, HeavyTail, RareRows, ScheduleRestart, SmallBatches
from benchmarks.faults.data_faults import (
    DATA_FAULTS,
    BadRows,
    Garbage,
    NonFinite,
    OtherEncoding,
    PoisonedCluster,
    Repetition,
)
from benchmarks.faults.text import FOREIGN, LONGEST_WORD, chats, code, remarks

SEEDS = (0, 7)
UNTIL_ARMED = 64
"""Steps until the last detector to arm, drift, is armed."""


def replaced(case: Case) -> dict[int, tuple[Row, Row]]:
    """(row as people wrote it, row as the case has it), by number, where they differ."""
    pairs = zip(Case(case.seed).chat_rows(), case.domains()["chat"], strict=True)
    return {number: pair for number, pair in enumerate(pairs) if pair[0] != pair[1]}


@pytest.mark.parametrize("fault", DATA_FAULTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_data_fault_spoils_its_culprits_and_no_other_row(fault: type[BadRows], seed: int) -> None:
    case = fault(seed)
    assert {f"c{number}" for number in replaced(case)} == case.truth.culprits
    assert all(before["id"] == after["id"] for before, after in replaced(case).values())
    assert case.truth.verdict is Verdict.DATA
    assert case.first_step in FIRST_STEPS


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_the_first_harmful_step_is_the_first_that_draws_a_culprit(fault: type[BadRows]) -> None:
    case = fault(3)
    drawn = [step for step in range(STEPS) if set(case.rows_at(step)) & set(case.bad_rows)]
    assert drawn[0] == case.first_step
    assert len(drawn) == len(case.bad_rows)  # a row comes once in a run


def test_a_case_draws_as_the_worker_does() -> None:
    case = Garbage(5)
    ids = [row["id"] for row in case.domains()["chat"]]
    plan = DataPlan(seed=5, sample_ids={"chat": ids}, weights=case.weights, batch_size=case.batch_size)
    assert case.rows_at(120) == [slot.row for slot in plan.slots_at(120, Schedule())]


def test_a_cluster_is_eight_rows_in_eight_steps_of_twenty_four() -> None:
    case = PoisonedCluster(1)
    steps = [step for step in range(STEPS) if set(case.rows_at(step)) & set(case.bad_rows)]
    assert len(steps) == 8
    assert steps[-1] - steps[0] < 24


def test_garbage_is_words_in_no_order() -> None:
    ((before, after),) = replaced(Garbage(2)).values()
    assert len(tokenizer().encode(after["text"]).ids) > 20
    shared = set(after["text"].split()) & set(before["text"].split())
    assert len(shared) < 5


def test_a_weight_makes_a_loss_overflow() -> None:
    ((before, after),) = replaced(NonFinite(2)).values()
    assert after["text"] == before["text"]
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(after["weight"]) * np.float32(1.2))


def test_repetition_is_one_sign_beyond_the_rows_length() -> None:
    ((_, after),) = replaced(Repetition(2)).values()
    assert len(set(after["text"])) == 1
    assert len(after["text"]) >= 256


def test_another_encoding_is_the_same_text_read_wrongly() -> None:
    ((before, after),) = replaced(OtherEncoding(2)).values()
    assert after["text"] != before["text"]
    assert after["text"].encode("latin-1").decode("cp500") == before["text"]


@pytest.mark.parametrize("seed", SEEDS)
def test_rare_rows_are_two_in_a_hundred_and_source_code(seed: int) -> None:
    rows = replaced(RareRows(seed))
    assert len(rows) == ROWS // 50
    assert {after["text"] for _, after in rows.values()} <= set(code())


@pytest.mark.parametrize("seed", SEEDS)
def test_hard_rare_rows_are_one_in_two_hundred_and_valid(seed: int) -> None:
    texts = [after["text"] for _, after in replaced(HardRareRows(seed)).values()]
    foreign = [text for text in texts if text in FOREIGN]
    tables = [text for text in texts if text.startswith("year,units,share,currency\n")]
    encoded = [text for text in texts if text not in (*foreign, *tables)]
    assert len(texts) == ROWS // 200
    assert min(map(len, (foreign, tables, encoded))) >= 3
    assert all(len(base64.b64decode(text, validate=True)) == 96 for text in encoded)
    for table in tables:
        header, *lines = csv.reader(io.StringIO(table))
        assert all(len(line) == len(header) for line in lines)
        assert all(float(line[2]) < 1 for line in lines)


def test_a_heavy_tail_is_three_short_remarks_in_ten() -> None:
    rows = replaced(HeavyTail(1))
    assert len(rows) == 0.3 * ROWS
    assert {after["text"] for _, after in rows.values()} <= set(remarks())
    assert all(len(after["text"].split()) < 8 for _, after in rows.values())


def test_nothing_is_wrong_with_what_the_controls_are_made_of() -> None:
    written = (*chats(), *remarks())
    assert len(written) > 100_000
    assert max(len(word) for text in written for word in text.split()) <= LONGEST_WORD, "a key was held down"
    assert min(len(set(text[:LENGTH])) for text in (*written, *code()) if len(text) >= LENGTH) > 1, "one sign alone"


@pytest.mark.parametrize("seed", range(5))
def test_the_mix_changes_towards_chats_early_enough_to_be_watched_again(seed: int) -> None:
    case = HarderMix(seed)
    ((step, command),) = case.commands
    assert case.weights == {"code": 0.9, "chat": 0.1}
    assert command == {"kind": "set_mix", "weights": {"chat": 0.5, "code": 0.5}}
    assert 55 <= step < 65
    assert STEPS - step - UNTIL_ARMED > 100
    assert {row["text"] for row in case.domains()["code"]} <= set(code())
    assert replaced(case) == {}


def test_the_other_controls_change_no_row() -> None:
    assert replaced(SmallBatches(1)) == replaced(ScheduleRestart(1)) == replaced(Case(1)) == {}
    assert SmallBatches(1).batch_size == 2
    ((_, command),) = ScheduleRestart(1).commands
    assert command["learning_rate"] == pytest.approx(4.5e-3)


def test_no_run_trains_on_held_out_rows() -> None:
    held_out = {row["text"] for row in held_out_rows()}
    assert held_out <= set(chats())
    assert not held_out & {row["text"] for row in Case(0).chat_rows()}
