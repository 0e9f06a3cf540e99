"""Presentations: every time a sample was trained on, as flat arrays. N presentations of S samples in D domains."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Presentations:
    """N presentations in the order of training. A sample is an id within a domain."""

    sample_ids: NDArray[np.object_]
    """Id of each sample, [S]."""
    domains: tuple[str, ...]
    """Domains by name, D of them."""
    domain_of: Ints
    """Index of each sample's domain, [S]."""
    sample: Ints
    """Which sample was presented, [N]."""
    step: Ints
    """Optimizer step of each presentation, ascending, [N]."""
    loss: Floats
    """Mean loss of the sample's own tokens, in nats per token, [N]; NaN or infinite where training was."""
    grad_norm: Floats
    """L2 norm of the gradient of that loss, [N]."""
    accuracy: Floats
    """Share of its loss-carrying tokens that were the model's first choice, [N]; NaN where nobody measured it."""
    tokens: Ints
    """Tokens that carried loss, [N]; at least 1, for a presentation without loss shows nothing."""
    applied: Bools
    """Whether the step's update reached the weights, [N]."""

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def domain(self) -> Ints:
        """Index of each presentation's domain, [N]."""
        return self.domain_of[self.sample]
