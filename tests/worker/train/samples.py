"""Samples of a batch, each on a line of its own or several on one."""

from dataclasses import replace

import numpy as np

from aft_worker.train.gradients import Lines

LENGTHS = (7, 12, 3, 9, 5, 11, 4, 6)
LINES = ((0, 2), (1, 4, 6), (3, 7), (5,))
"""Which samples share a line of 24 tokens."""
LONGEST, CAPACITY, PACKED = 12, 24, 3
ROWS = np.arange(len(LENGTHS))
"""The samples, by their row in `samples`."""


def samples(*, copies: int = 1, seed: int = 0) -> Lines:
    """Each sample on a line of its own: repeated tokens, prompts without loss, unequal weights.

    `copies` repeat the lengths, not the samples.
    """
    lengths = LENGTHS * copies
    draw = np.random.default_rng(seed)
    tokens = np.zeros((len(lengths), LONGEST), np.int32)
    weights = np.zeros((len(lengths), LONGEST), np.float32)
    for row, length in enumerate(lengths):
        tokens[row, :length] = draw.integers(0, 24, length)
        weights[row, 1 + row % 2 : length] = draw.uniform(0.3, 2.0, length - 1 - row % 2)
    keys = np.arange(1, len(lengths) + 1, dtype=np.uint32)[:, None]
    return Lines(tokens=tokens, loss_weights=weights, sample_keys=keys)


def packed_of(alone: Lines) -> tuple[Lines, np.ndarray]:
    """The same samples on shared lines, and where each one's figures stand."""
    rows = len(alone.tokens)
    lines = [[first + row for row in line] for first in range(0, rows, len(LENGTHS)) for line in LINES]
    tokens, weights, segments = (np.zeros((len(lines), CAPACITY), kind) for kind in (np.int32, np.float32, np.int32))
    keys, places = np.zeros((len(lines), PACKED), np.uint32), np.zeros(rows, int)
    for b, line in enumerate(lines):
        start = 0
        for p, row in enumerate(line):
            end = start + LENGTHS[row % len(LENGTHS)]
            tokens[b, start:end] = alone.tokens[row, : end - start]
            weights[b, start:end] = alone.loss_weights[row, : end - start]
            segments[b, start:] = p
            keys[b, p], places[row] = alone.sample_keys[row, 0], b * PACKED + p
            start = end
    return Lines(tokens=tokens, loss_weights=weights, segments=segments, sample_keys=keys), places


def shares_of(alone: Lines) -> np.ndarray:
    """Each sample's share in the batch loss."""
    totals = np.asarray(alone.loss_weights, np.float64)[:, 1:].sum(1)
    return np.asarray(totals / totals.sum())


def masked(alone: Lines, row: int, *, tokens: bool) -> Lines:
    """The samples, one of them without weight, and on demand without tokens as well."""
    emptied = replace(alone, tokens=alone.tokens.copy(), loss_weights=alone.loss_weights.copy())
    emptied.loss_weights[row] = 0.0
    if tokens:
        emptied.tokens[row] = 0
    return emptied
