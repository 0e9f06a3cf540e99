"""How much of a row says what it has said before."""

import json
from pathlib import Path

import pytest

from aft_contracts import OnBadRow, Schedule, SourceSpec
from aft_worker.data.batches import BatchSource
from aft_worker.data.encoder import load_encoder
from aft_worker.data.plan import DataPlan
from aft_worker.data.repetition import repeated_share
from aft_worker.data.table import TokenTable, load_table


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        pytest.param([], 0.0, id="nothing"),
        pytest.param([7, 7, 7], 0.0, id="too-short-for-a-gram"),
        pytest.param([7] * 64, 1 - 1 / 61, id="one-sign"),
        pytest.param([1, 2, 3, 4, 5] * 20, 1 - 5 / 97, id="one-phrase"),
        pytest.param(list(range(64)), 0.0, id="all-different"),
        pytest.param([1, 2] * 30 + list(range(10, 43)), 1 - 35 / 90, id="half-of-it"),
    ],
)
def test_share(tokens: list[int], share: float) -> None:
    assert repeated_share(tokens) == pytest.approx(share)


@pytest.fixture
def table(tiny_model_dir: Path, tmp_path: Path) -> TokenTable:
    rows = [
        {"id": "text", "text": "*" * 60},
        {"id": "answer", "prompt": "abcdefgh", "completion": "*" * 40},
        {"id": "prompt", "prompt": "*" * 40, "completion": "abcdefgh"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_table(SourceSpec(path=str(path)), load_encoder(tiny_model_dir, max_length=50), OnBadRow.FAIL)


def test_only_what_is_learned_from_is_counted(table: TokenTable) -> None:
    text, answer, prompt = (table.repetition(row) for row in range(3))
    assert text > 0.95
    assert answer > 0.9
    assert prompt == 0.0


def test_a_batch_carries_it_beside_each_sample_in_the_samples_order(table: TokenTable) -> None:
    plan = DataPlan(seed=0, sample_ids={"d": table.sample_ids}, weights={"d": 1.0}, batch_size=3)
    batch = BatchSource(plan, {"d": table}, max_length=50).batch_at(0, Schedule())
    known = {sample_id: table.repetition(row) for row, sample_id in enumerate(table.sample_ids)}
    assert sorted(batch.sample_id) == ["answer", "prompt", "text"]
    assert batch.repetition == tuple(known[sample_id] for sample_id in batch.sample_id)
