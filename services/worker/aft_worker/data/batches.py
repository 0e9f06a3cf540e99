"""Batches: the plan's rows as arrays of constant shape. B lines, T tokens, P samples a line at most."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aft_contracts import Schedule
from aft_worker.data.plan import DataPlan
from aft_worker.data.table import TokenTable


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """One step's samples; satisfies the Batch contract."""

    tokens: NDArray[np.int32]
    """Token ids, [B, T], padded on the right with 0."""
    loss_weights: NDArray[np.float32]
    """Weight of each token as a target, [B, T]; 0 where no loss is taken."""
    segments: NDArray[np.int32] | None
    """Which of its line's samples each token belongs to, [B, T]; None where each line is one sample."""
    sample_id: tuple[str, ...]
    """Id of each sample, line by line."""
    domain: tuple[str, ...]
    """Domain of each sample."""
    place: tuple[int, ...]
    """Where each sample's figures stand among the B * P of the batch."""
    repetition: tuple[float, ...]
    """How much of each sample says what it has said before; see `repeated_share`."""
    packed: int
    """Most samples on a line."""

    def sample_keys(self, seed: int, step: int) -> NDArray[np.uint32]:
        """A random number for each sample, [B, P]: the same wherever the sample stands."""
        lines, packed = self.tokens.shape[0], self.packed
        keys = np.zeros(lines * packed, np.uint32)
        for place, sample_id in zip(self.place, self.sample_id, strict=True):
            digest = hashlib.blake2b(f"{seed}/{step}/{sample_id}".encode(), digest_size=4).digest()
            keys[place] = int.from_bytes(digest, "big")
        return keys.reshape(lines, packed)


class BatchSource:
    """Builds the batch of any step, in any order."""

    def __init__(self, plan: DataPlan, tables: Mapping[str, TokenTable], *, max_length: int, packed: int = 1) -> None:
        """Takes the plan's rows from `tables`; `packed` is the most rows that share a line."""
        self.plan, self.tables = plan, tables
        self.max_length, self.packed = max_length, packed

    def batch_at(self, step: int, schedule: Schedule, masked: frozenset[str] = frozenset()) -> TokenBatch:
        """The batch of `step`; rows whose id is in `masked` are padding alone, and all else stays what it was."""
        slots = self.plan.slots_at(step, schedule)
        banned = schedule.blacklist_at(step)
        tokens_BT, loss_weights_BT = _blank(len(slots), self.max_length)
        segments_BT = np.zeros_like(tokens_BT)
        samples: list[tuple[str, str, int, float]] = []
        for b, slot in enumerate(slots):
            table, start = self.tables[slot.domain], 0
            for p, row in enumerate(self.plan.rows_of(slot)):
                segments_BT[b, start:] = p
                sample_id = table.sample_ids[row]
                # A banned row on a line with others leaves its place empty, so that these stay where they were. So does
                # a masked one: without weight its tokens count for nothing, unless they come to numbers not finite.
                if sample_id not in banned:
                    samples.append((sample_id, slot.domain, b * self.packed + p, table.repetition(row)))
                    if sample_id not in masked:
                        table.put(row, tokens_BT[b, start:], loss_weights_BT[b, start:])
                start += table.length(row)
        sample_ids, domains, places, repetitions = zip(*samples, strict=True)
        return TokenBatch(
            tokens=tokens_BT,
            loss_weights=loss_weights_BT,
            segments=segments_BT if self.packed > 1 else None,
            sample_id=sample_ids,
            domain=domains,
            place=places,
            repetition=repetitions,
            packed=self.packed,
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
