"""Packing: which rows share a line of tokens."""

from bisect import bisect_left, insort
from collections.abc import Sequence

PackedLine = tuple[int, ...]
"""Rows of one domain that share a line, in the order in which they stand there."""


def packed_lines(lengths: Sequence[int], *, capacity: int, most_rows: int) -> tuple[PackedLine, ...]:
    """Every row once, on lines of at most `capacity` tokens and `most_rows` rows.

    Best fit, longest rows first (Johnson et al., 1974): each row goes to the fullest line that still has room for it.
    The same lengths always give the same lines, so that a line can be drawn like a row.
    """
    lines: list[list[int]] = []
    open_lines: list[tuple[int, int]] = []  # (tokens free, line), ascending
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        fitting = bisect_left(open_lines, (lengths[row], -1))
        if fitting < len(open_lines):
            free, line = open_lines.pop(fitting)
        else:
            free, line = capacity, len(lines)
            lines.append([])
        lines[line].append(row)
        if len(lines[line]) < most_rows:
            insort(open_lines, (free - lengths[row], line))
    return tuple(tuple(line) for line in lines)
