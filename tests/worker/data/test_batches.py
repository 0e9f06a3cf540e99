"""Batches: constant shapes, right padding, and masks that touch nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from aft_contracts import OnBadRow, Schedule, SourceSpec
from aft_worker.data.batches import BatchSource, held_out_batches
from aft_worker.data.encoder import load_encoder
from aft_worker.data.packing import packed_lines
from aft_worker.data.plan import DataPlan
from aft_worker.data.table import TokenTable, load_table


@pytest.fixture
def table(tiny_model_dir: Path, tmp_path: Path) -> TokenTable:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": f"r{n}", "text": "x" * (n + 1), "weight": n} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_table(SourceSpec(path=str(path)), load_encoder(tiny_model_dir, max_length=8), OnBadRow.FAIL)


def source_of(table: TokenTable) -> BatchSource:
    plan = DataPlan(seed=0, sample_ids={"d": table.sample_ids}, weights={"d": 1.0}, batch_size=4)
    return BatchSource(plan, {"d": table}, max_length=8)


def test_rows_are_padded_and_weighted(table: TokenTable) -> None:
    batch = source_of(table).batch_at(3, Schedule())
    assert batch.tokens.shape == batch.loss_weights.shape == (4, 8)
    assert (batch.tokens.dtype, batch.loss_weights.dtype) == (np.int32, np.float32)
    for sample_id, tokens, weights in zip(batch.sample_id, batch.tokens, batch.loss_weights, strict=True):
        n = int(sample_id[1:])
        length = min(n + 2, 8)
        assert (tokens != 0).sum() == length
        assert weights.tolist() == [0.0] + [float(n)] * (length - 1) + [0.0] * (8 - length)


def test_masking_empties_those_rows_alone(table: TokenTable) -> None:
    source = source_of(table)
    plain = source.batch_at(3, Schedule())
    masked = source.batch_at(3, Schedule(), frozenset({plain.sample_id[2]}))
    assert (masked.sample_id, masked.domain) == (plain.sample_id, plain.domain)
    assert plain.tokens[2].any()
    for emptied, full in [(masked.tokens, plain.tokens), (masked.loss_weights, plain.loss_weights)]:
        expected = full.copy()
        expected[2] = 0
        np.testing.assert_array_equal(emptied, expected)


def test_packed_lines_hold_what_the_rows_hold_alone(table: TokenTable) -> None:
    lines = packed_lines(np.diff(table.starts).tolist(), capacity=12, most_rows=3)
    plan = DataPlan(seed=0, sample_ids={"d": table.sample_ids}, weights={"d": 1.0}, batch_size=4, lines={"d": lines})
    source = BatchSource(plan, {"d": table}, max_length=12, packed=3)
    seen = set()
    for step in range(3):
        batch = source.batch_at(step, Schedule())
        assert batch.segments is not None
        for sample_id, place in zip(batch.sample_id, batch.place, strict=True):
            line, segment = divmod(place, 3)
            own = batch.segments[line] == segment
            row, length = int(sample_id[1:]), table.length(int(sample_id[1:]))
            alone = np.zeros(12, np.int32), np.zeros(12, np.float32)
            table.put(row, *alone)
            np.testing.assert_array_equal(batch.tokens[line, own][:length], alone[0][:length])
            np.testing.assert_array_equal(batch.loss_weights[line, own][:length], alone[1][:length])
            seen.add(sample_id)
    assert seen == set(table.sample_ids)


def test_a_banned_row_leaves_its_place_empty_and_its_neighbours_alone(table: TokenTable) -> None:
    plan = DataPlan(
        seed=0, sample_ids={"d": table.sample_ids}, weights={"d": 1.0}, batch_size=1, lines={"d": [(3, 0, 1)]}
    )
    source = BatchSource(plan, {"d": table}, max_length=12, packed=3)
    plain = source.batch_at(0, Schedule())
    without = source.batch_at(0, Schedule().with_blacklisted(["r0"], step=0, cause="test"))
    assert (plain.sample_id, plain.place) == (("r3", "r0", "r1"), (0, 1, 2))
    assert (without.sample_id, without.place) == (("r3", "r1"), (0, 2))
    np.testing.assert_array_equal(without.segments, plain.segments)
    place = np.asarray(plain.segments == 1)
    assert not without.tokens[place].any()
    assert not without.loss_weights[place].any()
    np.testing.assert_array_equal(without.tokens[~place], plain.tokens[~place])
    np.testing.assert_array_equal(without.loss_weights[~place], plain.loss_weights[~place])


def test_a_masked_row_leaves_its_place_on_a_line_empty_and_its_figures_in_place(table: TokenTable) -> None:
    plan = DataPlan(
        seed=0, sample_ids={"d": table.sample_ids}, weights={"d": 1.0}, batch_size=1, lines={"d": [(3, 0, 1)]}
    )
    source = BatchSource(plan, {"d": table}, max_length=12, packed=3)
    plain, masked = source.batch_at(0, Schedule()), source.batch_at(0, Schedule(), frozenset({"r0"}))
    banned = source.batch_at(0, Schedule().with_blacklisted(["r0"], step=0, cause="test"))
    assert (masked.sample_id, masked.place) == (plain.sample_id, plain.place)
    for field in ("tokens", "loss_weights", "segments"):
        np.testing.assert_array_equal(getattr(masked, field), getattr(banned, field))


def test_sample_keys_belong_to_sample_and_step(table: TokenTable) -> None:
    batch = source_of(table).batch_at(3, Schedule())
    keys = batch.sample_keys(0, 3)
    assert (keys.shape, keys.dtype) == ((4, 1), np.uint32)
    assert len({*keys.ravel().tolist(), *batch.sample_keys(0, 4).ravel().tolist()}) == 8
    np.testing.assert_array_equal(keys, batch.sample_keys(0, 3))


def test_held_out_rows_come_once_each_in_constant_shapes(table: TokenTable) -> None:
    batches = list(held_out_batches(table, batch_size=4, max_length=8))
    assert [tokens.shape for tokens, _ in batches] == [(4, 8)] * 3
    assert [int((tokens != 0).any(axis=1).sum()) for tokens, _ in batches] == [4, 4, 1]
    assert sum(float(weights.sum()) for _, weights in batches) == float(
        sum(weight * targets for weight, targets in zip(range(9), [1, 2, 3, 4, 5, 6, 7, 7, 7], strict=True))
    )
