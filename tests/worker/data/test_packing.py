"""Packed lines: every row once, nothing too long, and a plan that keeps its promises over them."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_contracts import Schedule
from aft_worker.data.packing import packed_lines
from aft_worker.data.plan import DataPlan, Slot

LENGTHS = st.lists(st.integers(1, 16), min_size=1, max_size=60)


@settings(deadline=None, max_examples=80)
@given(lengths=LENGTHS, most_rows=st.integers(1, 6))
def test_every_row_stands_once_on_a_line_that_holds_it(lengths: list[int], most_rows: int) -> None:
    lines = packed_lines(lengths, capacity=16, most_rows=most_rows)
    assert Counter(row for line in lines for row in line) == Counter(range(len(lengths)))
    assert all(sum(lengths[row] for row in line) <= 16 and len(line) <= most_rows for line in lines)
    assert lines == packed_lines(lengths, capacity=16, most_rows=most_rows)


@settings(deadline=None, max_examples=80)
@given(lengths=LENGTHS)
def test_no_two_lines_could_be_one(lengths: list[int]) -> None:
    lines = packed_lines(lengths, capacity=16, most_rows=60)
    filled = sorted(sum(lengths[row] for row in line) for line in lines)
    assert len(filled) < 2 or filled[0] + filled[1] > 16


def test_ten_thousand_rows_fill_their_lines() -> None:
    lengths = np.random.default_rng(0).integers(10, 200, 10_000).tolist()
    lines = packed_lines(lengths, capacity=512, most_rows=64)
    assert sum(lengths) / (512 * len(lines)) > 0.99


@settings(deadline=None, max_examples=40)
@given(banned=st.sets(st.integers(0, 19), max_size=12), step=st.integers(0, 6))
def test_banning_moves_no_line_that_keeps_a_row(banned: set[int], step: int) -> None:
    ids = [f"r{row}" for row in range(20)]
    lines = packed_lines([3 + row % 7 for row in range(20)], capacity=12, most_rows=3)
    plan = DataPlan(seed=1, sample_ids={"d": ids}, weights={"d": 1.0}, batch_size=2, lines={"d": lines})
    schedule = Schedule().with_blacklisted([ids[row] for row in sorted(banned)], step=step, cause="test")
    if banned == set(range(20)):
        return

    def drawn(course: Schedule) -> list[Slot]:
        return [slot for at in range(20) for slot in plan.slots_at(at, course)]

    for place, (old, new) in enumerate(zip(drawn(Schedule()), drawn(schedule), strict=True)):
        if place // 2 >= step and set(plan.rows_of(old)) <= banned:
            assert not set(plan.rows_of(new)) <= banned
        else:
            assert new == old
