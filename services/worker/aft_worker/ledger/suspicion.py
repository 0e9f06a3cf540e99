"""Suspicion: how far a sample stands above what was expected of it, over all its presentations.

Noisy labels show in high loss (Swayamdipta et al., 2020) and in high gradient norm (Paul et al., 2021). Here both are
taken against what was expected at that time and length, so that a sample is not suspicious for having been seen early
or for being short, and a single epoch is enough.
"""

from typing import NamedTuple

import numpy as np

from aft_worker.ledger.expectation import standardised
from aft_worker.ledger.presentations import Bools, Floats, Ints, Presentations

NOISE_SHIFT = 3.0
"""Robust deviations above expectation at which a sample with a wrong label is taken to stand."""
GRAD_NORM_SHARE = 0.25
"""Share of the gradient norm in the score, the rest being the loss's: the norm says much the same, less clearly."""
DOUBT = 0.5
"""Weight of the presentation without finding that is counted in for each sample: few presentations prove less."""
LARGEST_Z = 50.0
"""Robust deviations at which a presentation counts no further; a loss that is not finite counts as this."""


class Suspicion(NamedTuple):
    """Scores of S samples in robust standard deviations: above 0 speaks for noise, below 0 against it."""

    score: Floats
    """`(1 - GRAD_NORM_SHARE) * loss + GRAD_NORM_SHARE * grad_norm`, [S]."""
    loss: Floats
    """What its losses say, [S]."""
    grad_norm: Floats
    """What its log gradient norms say, [S]."""


def suspicion(seen: Presentations) -> Suspicion:
    """Weighted means of the evidence in each sample's presentations, drawn towards 0 by `DOUBT`.

    The evidence of a presentation that stands z above expectation is `z - NOISE_SHIFT / 2`: the logarithm of how much
    likelier noise makes it, if noise shifts a normal z by NOISE_SHIFT, over NOISE_SHIFT. The mean is
    `sum(w * evidence) / (sum(w) + DOUBT)`. The weight w is `exp(lowest trend - trend)`, the typical probability that
    the model gave a true token at that time over the highest it ever gave: later presentations count more, as far as
    the model has learned in between. So an early presentation says little either way, and a late one may clear.
    """
    loss_z, knowledge = _loss_z(seen)
    grad_z = _grad_norm_z(seen)
    samples = len(seen.sample_ids)
    loss = _mean_evidence(loss_z, knowledge, seen.sample, samples)
    measured = np.isfinite(grad_z)
    grad_norm = _mean_evidence(grad_z[measured], knowledge[measured], seen.sample[measured], samples)
    return Suspicion((1 - GRAD_NORM_SHARE) * loss + GRAD_NORM_SHARE * grad_norm, loss, grad_norm)


def _loss_z(seen: Presentations) -> tuple[Floats, Floats]:
    """Each presentation's loss against expectation, and its weight, both [N]."""
    z, weight = np.full(len(seen), LARGEST_Z), np.ones(len(seen))
    for own in _finite_by_domain(seen, seen.loss):
        found = standardised(seen.loss[own], seen.tokens[own])
        z[own] = np.clip(found.z, -LARGEST_Z, LARGEST_Z)
        weight[own] = np.exp(found.trend.min(initial=np.inf) - found.trend)
    return z, weight


def _grad_norm_z(seen: Presentations) -> Floats:
    """Each presentation's log gradient norm against expectation, [N]; NaN where it is 0 or not finite.

    A norm that is not finite proves nothing by itself: a neighbour in the batch may have caused it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log_norm = np.log(seen.grad_norm)
    z = np.full(len(seen), np.nan)
    for own in _finite_by_domain(seen, log_norm):
        z[own] = np.clip(standardised(log_norm[own], seen.tokens[own]).z, -LARGEST_Z, LARGEST_Z)
    return z


def _finite_by_domain(seen: Presentations, figures: Floats) -> list[Ints]:
    """Indices of each domain's presentations whose figure is finite, in the order of training."""
    finite: Bools = np.isfinite(figures)
    return [np.flatnonzero(finite & (seen.domain == domain)) for domain in range(len(seen.domains))]


def _mean_evidence(z: Floats, weight: Floats, sample: Ints, samples: int) -> Floats:
    total = np.bincount(sample, weight * (z - NOISE_SHIFT / 2), minlength=samples)
    mean: Floats = total / (np.bincount(sample, weight, minlength=samples) + DOUBT)
    return mean
