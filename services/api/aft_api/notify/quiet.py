"""Quiet hours: until when a message waits."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from aft_contracts import QuietHours


def quiet_until(now: datetime, quiet: QuietHours) -> datetime | None:
    """When the quiet hours end that `now` lies in; None when it lies in none.

    Hours are those of clocks on the wall there: a night in which they are changed is an hour shorter or longer.
    """
    zone = ZoneInfo(quiet.time_zone)
    here = now.astimezone(zone)
    start, end = quiet.span
    for day in (here.date() - timedelta(days=1), here.date()):
        begins = datetime.combine(day, start, zone)
        ends = datetime.combine(day if start < end else day + timedelta(days=1), end, zone)
        # As moments, not as wall clocks: two of one zone are compared and subtracted without their offsets.
        if begins.timestamp() <= now.timestamp() < ends.timestamp():
            return ends
    return None
