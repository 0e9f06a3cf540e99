"""Intervals whose limits are known."""

import pytest

from benchmarks.faults.intervals import by_seeds, of_rate, of_share, wider
from tests.benchmarks.faults.outcomes import outcome


@pytest.mark.parametrize(
    ("share", "trials", "low", "high"),
    [
        (1.0, 20, 0.8316, 1.0),  # 0.025 ** (1 / 20)
        (0.0, 20, 0.0, 0.1684),
        (0.8, 10, 0.4439, 0.9748),  # a table of Clopper and Pearson
        (0.95, 300, 0.9189, 0.9717),
    ],
)
def test_a_share_has_the_limits_of_clopper_and_pearson(share: float, trials: int, low: float, high: float) -> None:
    assert of_share(share, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_hits_in_part_widen_the_interval() -> None:
    low, high = of_share(0.85, 10)
    assert low == of_share(0.8, 10)[0]
    assert high == of_share(0.9, 10)[1]


@pytest.mark.parametrize(("events", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_a_rate_has_the_limits_of_garwood(events: int, low: float, high: float) -> None:
    assert of_rate(events, 1.0) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert of_rate(events, 2.0)[1] == pytest.approx(high / 2, abs=5e-5)


def test_seeds_are_drawn_whole() -> None:
    def share_of_low(outcomes: object) -> float:
        losses = [one.loss for one in outcomes]  # type: ignore[attr-defined]
        return sum(loss == 1.0 for loss in losses) / len(losses)

    # A hundred runs, but two seeds: a draw has all of one seed, all of the other, or both.
    runs = [outcome(seed=seed, loss=float(seed)) for seed in (0, 1) for _ in range(50)]
    assert by_seeds(share_of_low, runs) == (0.0, 1.0)
    assert by_seeds(share_of_low, runs[:50]) is None


def test_the_wider_of_two_spans_both() -> None:
    assert wider((0.2, 0.5), None, (0.1, 0.4)) == (0.1, 0.5)
    assert wider(None) is None
