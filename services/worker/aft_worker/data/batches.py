"""Batches: the plan's rows as arrays of constant shape. B rows, T tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aft_contracts import Schedule
from aft_worker.data.plan import DataPlan
from aft_worker.data.table import TokenTable


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """One step's rows; satisfies the Batch contract."""

    tokens: NDArray[np.int32]
    """Token ids, [B, T], padded on the right with 0."""
    loss_weights: NDArray[np.float32]
    """Weight of each token as a target, [B, T]; 0 where no loss is taken."""
    sample_id: tuple[str, ...]
    """Id of each row."""
    domain: tuple[str, ...]
    """Domain of each row."""


class BatchSource:
    """Builds the batch of any step, in any order."""

    def __init__(self, plan: DataPlan, tables: Mapping[str, TokenTable], *, max_length: int) -> None:
        self.plan, self.tables, self.max_length = plan, tables, max_length

    def batch_at(self, step: int, schedule: Schedule, masked: frozenset[str] = frozenset()) -> TokenBatch:
        """The batch of `step`; rows whose id is in `masked` carry no loss, and all else stays what it was."""
        slots = self.plan.slots_at(step, schedule)
        sample_ids = tuple(self.plan.sample_id(slot) for slot in slots)
        tokens_BT, loss_weights_BT = _blank(len(slots), self.max_length)
        for b, slot in enumerate(slots):
            self.tables[slot.domain].put(slot.row, tokens_BT[b], loss_weights_BT[b])
            if sample_ids[b] in masked:
                loss_weights_BT[b] = 0.0
        return TokenBatch(
            tokens=tokens_BT,
            loss_weights=loss_weights_BT,
            sample_id=sample_ids,
            domain=tuple(slot.domain for slot in slots),
        )


def held_out_batches(
    table: TokenTable, *, batch_size: int, max_length: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Tokens and loss weights of all rows in file order, each [B, T]; the last batch is filled up with empty rows."""
    for first in range(0, len(table), batch_size):
        tokens_BT, loss_weights_BT = _blank(batch_size, max_length)
        for b, row in enumerate(range(first, min(first + batch_size, len(table)))):
            table.put(row, tokens_BT[b], loss_weights_BT[b])
        yield tokens_BT, loss_weights_BT


def _blank(batch_size: int, max_length: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    return np.zeros((batch_size, max_length), np.int32), np.zeros((batch_size, max_length), np.float32)
