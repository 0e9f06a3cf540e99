"""Quiet hours."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from aft_api.notify.quiet import quiet_until
from aft_contracts import QuietHours

BERLIN = "Europe/Berlin"


def moment(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "start", "end", "zone", "until"),
    [
        ("2026-03-01T23:00", "22:00", "07:00", "UTC", "2026-03-02T07:00"),
        ("2026-03-01T22:00", "22:00", "07:00", "UTC", "2026-03-02T07:00"),
        ("2026-03-02T06:59", "22:00", "07:00", "UTC", "2026-03-02T07:00"),
        ("2026-03-02T07:00", "22:00", "07:00", "UTC", None),
        ("2026-03-02T12:00", "22:00", "07:00", "UTC", None),
        ("2026-03-02T12:00", "11:00", "13:30", "UTC", "2026-03-02T13:30"),
        ("2026-03-02T12:00", "07:00", "07:00", "UTC", "2026-03-03T07:00"),
        ("2026-03-01T21:30", "22:00", "07:00", BERLIN, "2026-03-02T06:00"),
        ("2026-03-28T22:00", "22:00", "07:00", BERLIN, "2026-03-29T05:00"),
        ("2026-03-29T04:30", "22:00", "07:00", BERLIN, "2026-03-29T05:00"),
        ("2026-10-25T05:30", "22:00", "07:00", BERLIN, "2026-10-25T06:00"),
        ("2026-10-25T00:30", "02:15", "02:45", BERLIN, "2026-10-25T00:45"),
    ],
)
def test_they_end_at_that_time_on_the_clocks_there(
    now: str, start: str, end: str, zone: str, until: str | None
) -> None:
    quiet = QuietHours(start=start, end=end, time_zone=zone)
    found = quiet_until(moment(now), quiet)
    assert (None if found is None else found.astimezone(UTC)) == (None if until is None else moment(until))


def test_yaml_reads_some_times_of_day_as_numbers() -> None:
    assert QuietHours.model_validate({"start": 1320, "end": "07:00"}).start == "22:00"


@pytest.mark.parametrize(
    ("field", "value"),
    [("start", "7:00"), ("start", "24:00"), ("end", "late"), ("end", -1), ("end", 1440), ("time_zone", "Berlin"),
     ("time_zone", "../etc/passwd"), ("time_zone", "")],
)  # fmt: skip
def test_nonsense_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        QuietHours.model_validate({"start": "22:00", "end": "07:00", field: value})
    assert [error["loc"] for error in refusal.value.errors()] == [(field,)]
