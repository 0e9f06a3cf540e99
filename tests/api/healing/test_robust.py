"""Robust scale."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aft_api.healing.robust import log_or_none, scale_of, upper_spread_of

finite = st.floats(-1e6, 1e6)


def test_normal_values_give_their_own_mean_and_deviation() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.5, 20_000).tolist()
    scale = scale_of(values, floor=0.0, trim_z=6.0)
    assert scale.median == pytest.approx(3.0, abs=0.02)
    assert scale.spread == pytest.approx(0.5, rel=0.03)


def test_a_heavy_upper_tail_widens_the_spread_beyond_the_mad() -> None:
    values = np.random.default_rng(0).lognormal(0.0, 1.0, 20_000)
    mad = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    assert scale_of(values.tolist(), floor=0.0, trim_z=6.0).spread > 1.5 * mad


@given(st.lists(finite, min_size=20, max_size=60), finite)
def test_one_value_of_twenty_cannot_move_the_scale_out_of_the_others_range(values: list[float], spoiled: float) -> None:
    scale = scale_of([*values, spoiled * 1e6], floor=1e-9, trim_z=6.0)
    assert min(values) <= scale.median <= max(values)
    # 1.4826 * the widest distance two clean values can have, widened for so few
    assert scale.spread <= 1.4826 * (max(values) - min(values)) * 1.2 + 1e-6


@given(st.lists(finite, min_size=1, max_size=30), finite, st.floats(0.01, 10))
def test_z_grows_with_the_value_and_is_zero_at_the_median(values: list[float], value: float, more: float) -> None:
    scale = scale_of(values, floor=0.1, trim_z=6.0)
    assert scale.z(scale.median) == 0
    assert scale.z(value + more) >= scale.z(value)


@given(st.lists(finite, min_size=1, max_size=60))
def test_the_spread_is_that_of_distances_put_in_order(values: list[float]) -> None:
    middle = statistics.median(values)
    mad = statistics.median(abs(value - middle) for value in values)
    ordinary = [value for value in sorted(values) if value <= middle + 6.0 * max(1.4826 * mad, 1e-3)]
    tail = (ordinary[9 * len(ordinary) // 10] - middle) / 1.2816
    found = scale_of(values, floor=1e-3, trim_z=6.0).spread
    assert found == pytest.approx(max(max(1.4826 * mad, tail) * (1 + 5 / len(values)), 1e-3), rel=1e-12)


def test_equal_values_fall_back_on_the_floor() -> None:
    assert scale_of([2.0] * 10, floor=0.25, trim_z=6.0).z(3.0) == pytest.approx(4.0)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf])
def test_a_norm_without_a_log_has_none(norm: float) -> None:
    assert log_or_none(norm) is None


def test_values_beyond_the_trim_say_nothing_about_the_tail() -> None:
    values = [*(0.01 * (step % 10) for step in range(80)), *([5.0] * 20)]
    narrow, wide = (scale_of(values, floor=0.01, trim_z=trim_z).spread for trim_z in (6.0, 1e6))
    assert narrow < 0.1
    assert wide > 1.0


def test_the_upper_spread_of_normal_values_is_their_deviation() -> None:
    values = np.random.default_rng(1).normal(3.0, 0.5, 20_000).tolist()
    assert upper_spread_of(values, floor=0.0, trim_z=6.0) == pytest.approx(0.5, rel=0.02)


def test_a_few_values_far_up_widen_the_upper_spread_and_not_the_scale() -> None:
    values = np.random.default_rng(1).normal(3.0, 0.5, 500).tolist()
    with_few = [*values, *[5.5] * 8]
    before, after = (upper_spread_of(some, floor=0.0, trim_z=6.0) for some in (values, with_few))
    decile_before, decile_after = (scale_of(some, floor=0.0, trim_z=6.0).spread for some in (values, with_few))
    assert after > 1.2 * before
    assert decile_after < 1.06 * decile_before


def test_the_upper_spread_sees_a_heavy_upper_tail_and_nothing_below_the_median() -> None:
    values = np.random.default_rng(2).exponential(1.0, 20_000)
    up = upper_spread_of(values.tolist(), floor=0.0, trim_z=1e9)
    down = upper_spread_of((-values).tolist(), floor=0.0, trim_z=1e9)
    # Beyond ln 2 an exponential is one again: the mean square above it is 2.
    assert up == pytest.approx(math.sqrt(2), rel=0.03)
    assert down < 0.5 * up


@given(st.lists(finite, min_size=20, max_size=60), finite)
def test_one_value_of_twenty_cannot_move_the_upper_spread_far(values: list[float], spoiled: float) -> None:
    span = max(values) - min(values)
    floor = 0.01 * span + 1e-9
    # What is not left out stands no further up than the trim allows, and the MAD is no larger than the span.
    limit = 6.0 * max(1.4826 * span, floor) * (1 + 5 / (len(values) + 1))
    assert upper_spread_of([*values, spoiled], floor=floor, trim_z=6.0) <= limit + floor


def test_equal_values_have_the_floor_as_their_upper_spread() -> None:
    assert upper_spread_of([2.0] * 9, floor=0.1, trim_z=6.0) == 0.1
