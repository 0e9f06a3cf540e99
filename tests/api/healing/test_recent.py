"""Recent figures against what sorting them anew would say."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aft_api.healing.recent import Recent
from aft_api.healing.robust import scale_of

FIGURES = st.lists(st.one_of(st.none(), st.floats(-100, 100)), max_size=60)


@given(FIGURES, st.integers(1, 20))
def test_it_holds_the_last_figures_in_order(figures: list[float | None], size: int) -> None:
    recent = Recent(size, figures)
    kept = sorted(figure for figure in figures[-size:] if figure is not None)
    assert len(recent) == len(kept)
    if kept:
        assert recent.median == statistics.median(kept)
        assert recent.scale(floor=0.1, trim_z=6.0) == scale_of(kept, floor=0.1, trim_z=6.0)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.floats(-200, 200), st.floats(0.01, 10))
def test_the_bound_is_never_below_the_exact_z(figures: list[float], value: float, floor: float) -> None:
    recent = Recent(40, figures)
    exact = recent.scale(floor=floor, trim_z=6.0).z(value)
    assert max(0.0, recent.most_z(value, floor=floor)) >= max(0.0, exact) * (1 - 1e-12)


def test_the_bound_is_exact_where_the_spread_is_the_floor() -> None:
    assert Recent(5, [1.0] * 5).most_z(3.0, floor=0.5) == pytest.approx(4.0)
