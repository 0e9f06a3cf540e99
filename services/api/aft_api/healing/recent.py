"""The last few figures of a series, kept in order of size as well, so that their median costs no sort."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

from aft_api.healing.robust import Scale, median_of, scale_of_ordered


class Recent:
    """The last `size` figures that were added. A None takes a place and has no figure."""

    def __init__(self, size: int, figures: Iterable[float | None] = ()) -> None:
        self._size = size
        self._last: deque[float | None] = deque()
        self._ordered: list[float] = []
        for figure in figures:
            self.add(figure)

    def __len__(self) -> int:
        """How many figures there are."""
        return len(self._ordered)

    @property
    def median(self) -> float:
        """The median; there must be a figure."""
        return median_of(self._ordered)

    def add(self, figure: float | None) -> None:
        """Take in a figure; the oldest leaves when there are too many."""
        self._last.append(figure)
        if figure is not None:
            insort(self._ordered, figure)
        if len(self._last) > self._size:
            oldest = self._last.popleft()
            if oldest is not None:
                del self._ordered[bisect_left(self._ordered, oldest)]

    def scale(self, *, floor: float, trim_z: float) -> Scale:
        """See `robust.scale_of`."""
        return scale_of_ordered(self._ordered, floor=floor, trim_z=trim_z)

    def most_z(self, value: float, *, floor: float) -> float:
        """A bound on `scale(…).z(value)` where that is positive: no spread is smaller than the floor."""
        return (value - self.median) / floor
