"""Backoff: when to try a notification again."""

SCHEDULE_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Pause before each attempt: the schedule that Standard Webhooks 1.0.0 suggests, about three days in all."""

JITTER_SHARE = 0.2
"""A full jitter lengthens a pause by this share, so that receivers that were down are not hit by all at once."""


def next_attempt_delay_s(attempt: int, *, jitter: float) -> float | None:
    """Seconds to wait before `attempt` (0 is the first one); None when there are no more attempts.

    `jitter` is a random number in [0, 1]: the caller's, so that this stays a function.
    """
    if attempt < 0 or not 0.0 <= jitter <= 1.0:
        raise ValueError(f"attempt {attempt} must not be negative and jitter {jitter} must lie in [0, 1]")
    if attempt >= len(SCHEDULE_S):
        return None
    return SCHEDULE_S[attempt] * (1 + JITTER_SHARE * jitter)
