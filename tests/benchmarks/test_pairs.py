"""Pairs take turns, and their statistics are right on known numbers."""

import pytest

from benchmarks.pairs import Timings, interleaved, median_interval, ratio_of, stopwatch


def test_arms_take_turns_and_the_order_alternates() -> None:
    turns: list[str] = []

    def arm(name: str, seconds: float):
        def measure() -> float:
            turns.append(name)
            return seconds

        return measure

    timings = interleaved({"a": arm("a", 3.0), "b": arm("b", 2.0)}, rounds=3, warm_ups=1)
    assert "".join(turns) == "abbaabba"
    assert timings.seconds == {"a": (3.0,) * 3, "b": (2.0,) * 3}


def test_warm_ups_do_not_count() -> None:
    seconds = iter([100.0, 1.0, 2.0])
    timings = interleaved({"a": lambda: next(seconds)}, rounds=2, warm_ups=1)
    assert timings.seconds["a"] == (1.0, 2.0)


def test_the_ratio_is_the_median_of_pairwise_ratios() -> None:
    """Not the ratio of medians: the machine slowed down threefold in the middle, and both arms felt it."""
    timings = Timings(seconds={"a": (1.1, 3.3, 1.1, 9.0, 1.1), "b": (1.0, 3.0, 1.0, 3.0, 1.0)})
    ratio = timings.ratio("a", over="b")
    assert ratio.median == pytest.approx(1.1)
    low, high = ratio.interval
    assert low == pytest.approx(1.1)
    assert high == pytest.approx(3.0)


def test_the_interval_is_that_of_the_median() -> None:
    """Order statistics 40 and 61 of 100 bound the median at about 95 %, whatever the distribution."""
    low, high = median_interval(list(range(1, 101)))
    assert 39 <= low <= 44
    assert 57 <= high <= 62
    assert median_interval(list(range(1, 101))) == (low, high)
    assert median_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


@pytest.mark.parametrize("arms", [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_no_pair_is_refused(arms) -> None:
    with pytest.raises(ValueError, match="are no pairs"):
        ratio_of(*arms)


def test_the_stopwatch_times_the_work() -> None:
    done: list[int] = []
    assert 0 <= stopwatch(lambda: done.append(1))() < 1
    assert done == [1]
