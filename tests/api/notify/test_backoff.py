"""The retry schedule."""

import pytest

from aft_api.notify.backoff import next_attempt_delay_s


def test_it_is_the_schedule_of_standard_webhooks() -> None:
    delays = [next_attempt_delay_s(attempt, jitter=0.0) for attempt in range(11)]
    assert delays == [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]


@pytest.mark.parametrize("attempt", range(10))
def test_jitter_only_lengthens_and_by_a_fifth_at_most(attempt: int) -> None:
    shortest, longest = (next_attempt_delay_s(attempt, jitter=jitter) for jitter in (0.0, 1.0))
    assert shortest is not None
    assert longest == pytest.approx(1.2 * shortest)


@pytest.mark.parametrize(("attempt", "jitter"), [(-1, 0.5), (1, -0.1), (1, 1.1)])
def test_nonsense_is_refused(attempt: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        next_attempt_delay_s(attempt, jitter=jitter)
