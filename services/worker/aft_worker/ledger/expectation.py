"""What a figure should have been: by the figures of the same domain near it in time and in length.

Losses fall while a model learns, and short answers are harder or easier than long ones; what is left of a figure when
both are taken out says something about the sample. All centres are medians and all spreads median absolute deviations,
which a few bad samples cannot move (Leys et al., 2013). n figures of one domain, in the order of training.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from aft_worker.ledger.presentations import Floats, Ints

TREND_BLOCK = 64
"""Figures whose median is one point of the trend."""
SEGMENT = 1024
"""Figures among which lengths are compared: the effect of length changes while a model learns."""
CELL = 64
"""Figures of like length whose median and spread make one point of the length curve."""
MAD_TO_SIGMA = 1.4826
"""What makes a median absolute deviation the standard deviation of a normal distribution."""
LEAST_SHARE_OF_SPREAD = 0.05
"""Smallest spread of a cell, as a share of the domain's: equal figures must not make a small difference look huge."""


class Standardised(NamedTuple):
    """Figures against what was expected of them."""

    z: Floats
    """Robust standard deviations above the expectation, [n]."""
    trend: Floats
    """Median of the domain's figures at that time, in the figure's own unit, [n]."""


def standardised(figures: Floats, tokens: Ints) -> Standardised:
    """Each finite figure against those of the same domain near it in time, then in length; both [n]."""
    if not len(figures):
        return Standardised(figures, figures)
    trend = _trend(figures)
    residual = figures - trend
    centre, spread = np.empty_like(residual), np.empty_like(residual)
    log_tokens = np.log(tokens)
    for start, stop in pairwise(_edges(len(residual), SEGMENT).tolist()):
        segment = slice(start, stop)
        centre[segment], spread[segment] = _by_length(residual[segment], log_tokens[segment])
    least = LEAST_SHARE_OF_SPREAD * _spread(residual - centre) + np.finfo(np.float32).eps
    return Standardised((residual - centre) / np.maximum(spread, least), trend)


def _trend(figures: Floats) -> Floats:
    """A line through the medians of consecutive blocks, level before the first and after the last."""
    blocks = _edges(len(figures), TREND_BLOCK)
    middles = (blocks[:-1] + blocks[1:] - 1) / 2
    return np.interp(np.arange(len(figures)), middles, _medians(figures, blocks))


def _by_length(residual: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    """Expected residual and its spread at each length: lines through the cells of like length."""
    order = np.argsort(log_tokens, kind="stable")
    cells = _edges(len(order), CELL)
    by_length = residual[order]
    # Figures of one length may fill several cells; their points are merged, since a line needs distinct places.
    places, point = np.unique(_medians(log_tokens[order], cells), return_inverse=True)
    counts = np.bincount(point)
    centres = np.bincount(point, _medians(by_length, cells)) / counts
    centre = np.interp(log_tokens, places, centres)
    spreads = np.bincount(point, _medians(np.abs(residual - centre)[order], cells)) / counts
    return centre, MAD_TO_SIGMA * np.interp(log_tokens, places, spreads)


def _spread(residual: Floats) -> float:
    return MAD_TO_SIGMA * float(np.median(np.abs(residual)))


def _edges(length: int, size: int) -> Ints:
    """Where parts of nearly equal length begin, and where the last ends; each at least `size` long, or only one."""
    edges: Ints = np.linspace(0, length, max(1, length // size) + 1).round().astype(np.int64)
    return edges


def _medians(figures: Floats, edges: Ints) -> Floats:
    """The median of each part, none of which is empty; all at once, for there may be many thousands."""
    sizes = np.diff(edges)
    part = np.repeat(np.arange(len(sizes)), sizes)
    by_part = figures[np.lexsort((figures, part))]
    medians: Floats = by_part[edges[:-1] + (sizes - 1) // 2] / 2 + by_part[edges[:-1] + sizes // 2] / 2
    return medians
