"""A token bucket for each sender, in the memory of one process: replicas count apart."""

from collections import OrderedDict
from dataclasses import dataclass, field

MOST_SENDERS = 10_000
BURST_S = 4.0
"""A bucket holds what its rate gives in so many seconds."""


@dataclass(kw_only=True)
class Buckets:
    """How many requests each sender has left."""

    per_s: float
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, sender: str, now_s: float) -> float:
        """Take one request from a sender's bucket; 0, or how many seconds until there is one."""
        full = max(1.0, self.per_s * BURST_S)
        left, at_s = self._left.pop(sender, (full, now_s))
        left = min(full, left + (now_s - at_s) * self.per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / self.per_s
        self._left[sender] = (left - 1 if wait_s == 0 else left, now_s)
        if len(self._left) > MOST_SENDERS:
            self._left.popitem(last=False)  # whoever was silent longest has a full bucket by now
        return wait_s
