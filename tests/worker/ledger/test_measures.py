"""Measures on tables small enough to work out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_worker.ledger.measures import Dynamics, dynamics
from tests.worker.ledger.conftest import presentations_of

HALF, QUARTER = -math.log(0.5), -math.log(0.25)


def of(*seen: tuple[object, ...], rows: int = 2, **given: object) -> Dynamics:
    return dynamics(presentations_of(*seen, **given), np.asarray([rows]))


def test_confidence_is_the_mean_probability_and_variability_its_deviation() -> None:
    measured = of(("a", HALF), ("b", 0.0), ("a", QUARTER), ("b", 0.0))
    assert measured.confidence == pytest.approx([0.375, 1.0])
    assert measured.variability == pytest.approx([0.125, 0.0])
    assert measured.mean_loss == pytest.approx([(HALF + QUARTER) / 2, 0.0])
    assert measured.last_loss == pytest.approx([QUARTER, 0.0])


def test_correctness_is_the_mean_share_where_it_was_measured() -> None:
    columns = ("sample_id", "loss", "accuracy")
    measured = of(("a", 1.0, 0.5), ("b", 1.0, math.nan), ("a", 1.0, 1.0), ("a", 1.0, math.nan), columns=columns)
    assert measured.correctness == pytest.approx([0.75, math.nan], nan_ok=True)


def test_forgetting_is_an_accuracy_below_the_one_before() -> None:
    columns = ("sample_id", "loss", "accuracy")
    shares = (0.2, 0.6, 0.4, 0.4, 0.9, 0.1)
    measured = of(*(("a", 1.0, share) for share in shares), ("b", 1.0, 0.0), columns=columns)
    assert measured.forgetting_events.tolist() == [2, 0]


def test_forgetting_without_accuracy_is_a_loss_above_the_one_before() -> None:
    measured = of(("a", 2.0), ("b", 9.0), ("a", 1.0), ("a", 1.5), ("a", math.inf), ("a", math.nan), ("a", 1.0))
    assert measured.forgetting_events.tolist() == [2, 0], "NaN and infinity are equally bad"


def test_forgetting_falls_back_to_loss_for_the_pair_alone_that_lacks_accuracy() -> None:
    columns = ("sample_id", "loss", "accuracy")
    measured = of(("a", 1.0, 0.9), ("a", 2.0, 0.95), ("a", 3.0, math.nan), ("a", 2.0, 0.1), columns=columns)
    assert measured.forgetting_events.tolist() == [1]


def test_what_is_not_finite_is_counted_and_leaves_the_means_finite() -> None:
    columns = ("sample_id", "loss", "grad_norm", "applied")
    measured = of(
        ("a", math.nan, math.nan, False),
        ("a", 2.0, 3.0, True),
        ("a", math.inf, 5.0, False),
        ("b", math.nan, math.inf, True),
        columns=columns,
    )
    assert measured.non_finite.tolist() == [2, 1]
    assert measured.withheld.tolist() == [2, 0]
    assert measured.mean_loss == pytest.approx([2.0, math.nan], nan_ok=True)
    assert measured.mean_grad_norm == pytest.approx([4.0, math.nan], nan_ok=True)
    assert measured.max_grad_norm == pytest.approx([5.0, math.nan], nan_ok=True)
    assert measured.confidence == pytest.approx([math.exp(-2) / 3, 0.0])


def test_epochs_are_passes_over_the_domain_and_not_presentations() -> None:
    """A substitute for a blacklisted row is presented more than once in a pass."""
    measured = of(("a", 1.0), ("b", 1.0), ("b", 1.0), ("b", 1.0), ("a", 1.0), ("b", 1.0))
    assert measured.times_seen.tolist() == [2, 4]
    assert measured.epochs.tolist() == [2, 3]


def test_each_domain_has_its_own_passes() -> None:
    seen = presentations_of(
        ("a", 1.0, "x"), ("a", 1.0, "y"), ("a", 1.0, "x"), ("b", 1.0, "y"), columns=("sample_id", "loss", "domain")
    )
    measured = dynamics(seen, np.asarray([1, 2]))
    assert seen.sample_ids.tolist() == ["a", "a", "b"]
    assert measured.epochs.tolist() == [2, 1, 1]
    assert measured.last_step.tolist() == [2, 1, 3]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), min_size=1, max_size=30))
def test_measures_of_any_ledger_stay_within_their_bounds(seen: list[tuple[str, float]]) -> None:
    measured = of(*seen)
    assert measured.times_seen.sum() == len(seen)
    assert ((measured.confidence >= 0) & (measured.confidence <= 1)).all()
    assert ((measured.variability >= 0) & (measured.variability <= 0.5 + 1e-9)).all()
    assert (measured.forgetting_events < measured.times_seen).all()
    assert (measured.epochs <= measured.times_seen).all()
