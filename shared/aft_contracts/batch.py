"""Batch: what one training step eats."""

from collections.abc import Sequence
from typing import Any, Protocol


class Batch(Protocol):
    """Arrays of one step plus the ids of its samples. B lines, T tokens; a packed line holds several samples."""

    @property
    def tokens(self) -> Any:
        """Token ids, int32 [B, T], padded on the right."""

    @property
    def loss_weights(self) -> Any:
        """Weight of each token as a target, float32 [B, T]; 0 where no loss is taken."""

    @property
    def segments(self) -> Any:
        """Which of its line's samples each token belongs to, int32 [B, T]; None where each line is one sample."""

    @property
    def sample_id(self) -> Sequence[str]:
        """Stable id of each sample, line by line."""

    @property
    def domain(self) -> Sequence[str]:
        """Domain of each sample."""
