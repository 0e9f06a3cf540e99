"""Batch: what one training step eats."""

from collections.abc import Sequence
from typing import Any, Protocol


class Batch(Protocol):
    """Arrays of one step plus the ids of the samples in them. B rows, T tokens."""

    @property
    def tokens(self) -> Any:
        """Token ids, int32 [B, T], padded on the right."""

    @property
    def loss_weights(self) -> Any:
        """Weight of each token as a target, float32 [B, T]; 0 where no loss is taken."""

    @property
    def sample_id(self) -> Sequence[str]:
        """Stable id of each row, B of them."""

    @property
    def domain(self) -> Sequence[str]:
        """Domain of each row, B of them."""
