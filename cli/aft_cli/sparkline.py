"""A line of blocks that shows how a figure went."""

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "✗"


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """The last `width` values as blocks between their least and their greatest; ✗ where one is not finite."""
    shown = values[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    low, span = (min(finite), max(finite) - min(finite)) if finite else (0.0, 0.0)

    def block(value: float) -> str:
        if not math.isfinite(value):
            return NOT_FINITE
        return BLOCKS[int((value - low) / span * (len(BLOCKS) - 1))] if span else BLOCKS[0]

    return "".join(map(block, shown))
