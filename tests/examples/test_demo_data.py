"""The demo's data: real rows, spoiled where the answer key says so, met at the step it says."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aft_contracts import Schedule
from aft_worker.data.plan import DataPlan
from examples.demo import plan
from examples.demo.dataset import DemoData, write_data
from examples.demo.poison import OVERFLOWING_WEIGHT, PoisonKind
from examples.demo.run_spec import demo_spec
from examples.smollm2.convert import convert

ROW_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{3}")


@pytest.fixture(scope="module")
def model_dir() -> Path:
    """The real model, for its tokenizer."""
    return convert()


@pytest.fixture(scope="module")
def data(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    """The demo's files."""
    return write_data(tmp_path_factory.mktemp("demo"), model_dir)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _drawn(data: DemoData) -> list[list[str]]:
    """Ids by step, as the worker will draw them."""
    ids = {domain: [row["id"] for row in _rows(path)] for domain, path in data.training.items()}
    drawn = DataPlan(seed=plan.SEED, sample_ids=ids, weights=dict.fromkeys(ids, 1.0), batch_size=plan.BATCH_SIZE)
    return [[drawn.sample_id(slot) for slot in drawn.slots_at(step, Schedule())] for step in range(plan.STEPS)]


def test_every_row_is_drawn_once_and_each_poisoned_one_at_its_step(data: DemoData) -> None:
    drawn = _drawn(data)
    counts = Counter(row_id for step in drawn for row_id in step)
    assert set(counts.values()) == {1}
    assert counts.keys() == {row["id"] for path in data.training.values() for row in _rows(path)}
    assert [poisoned.row_id in drawn[poisoned.step] for poisoned in data.answer_key] == [True] * len(data.answer_key)


def test_poisoned_rows_look_like_all_others(data: DemoData) -> None:
    rows = {row["id"]: row for path in data.training.values() for row in _rows(path)}
    assert [row_id for row_id in rows if not ROW_ID.fullmatch(row_id)] == []
    for poisoned in data.answer_key:
        row = rows[poisoned.row_id]
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert row.get("weight") == (OVERFLOWING_WEIGHT if poisoned.kind is PoisonKind.OVERFLOW else None)


def test_held_out_rows_are_not_trained_on(data: DemoData) -> None:
    trained = {row["messages"][-1]["content"] for path in data.training.values() for row in _rows(path)}
    held_out = [row["messages"][-1]["content"] for path in data.held_out.values() for row in _rows(path)]
    assert len(held_out) == plan.HELD_OUT_ROWS * len(plan.DOMAINS)
    assert trained.isdisjoint(held_out)


def test_aft_is_told_of_the_rows_and_not_of_the_answers(data: DemoData, model_dir: Path) -> None:
    told = demo_spec(model_dir, data).model_dump_json()
    assert all(str(path) in told for path in data.training.values())
    assert "answer-key" not in told


def test_data_is_the_same_each_time(data: DemoData, model_dir: Path, tmp_path: Path) -> None:
    again = write_data(tmp_path, model_dir)
    assert again.answer_key == data.answer_key
    assert [path.read_bytes() for path in again.training.values()] == [
        path.read_bytes() for path in data.training.values()
    ]
