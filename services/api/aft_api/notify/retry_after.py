"""Retry-After: how long a receiver asks us to wait (RFC 9110, 10.2.3)."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 86_400.0
"""No receiver makes us wait longer than a day."""


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from the header, given as seconds or as a date; None when it is absent or unreadable."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    seconds = None if value is None else _seconds(value.strip(), now)
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_S)


def _seconds(value: str, now: datetime) -> float | None:
    try:
        return float(value)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # "-0000" parses as naive, and means UTC
    return (aware - now).total_seconds()
