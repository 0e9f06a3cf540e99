"""Measures of training dynamics: what each sample's presentations say of it, without a verdict."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from aft_worker.ledger.presentations import Bools, Floats, Ints, Presentations

_Figures = TypeVar("_Figures", Ints, Floats)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dynamics:
    """Figures of S samples, each array [S]."""

    times_seen: Ints
    """Presentations."""
    epochs: Ints
    """Passes over the domain in which the sample was presented."""
    last_step: Ints
    """Optimizer step of the last presentation."""
    tokens: Ints
    """Tokens that carried loss at the last presentation."""
    mean_loss: Floats
    """Mean of the finite losses, in nats per token; NaN where none is finite."""
    last_loss: Floats
    """Loss of the last presentation, in nats per token."""
    non_finite: Ints
    """Presentations whose loss was not finite."""
    withheld: Ints
    """Presentations in steps whose update was withheld."""
    confidence: Floats
    """Mean over presentations of the true answer's probability (Swayamdipta et al., 2020, section 2)."""
    variability: Floats
    """Standard deviation of that probability over presentations (same source)."""
    correctness: Floats
    """Mean share of tokens that were the model's first choice (same source); NaN where it was never measured."""
    forgetting_events: Ints
    """Presentations at which the sample went worse than at the one before (Toneva et al., 2019)."""
    mean_grad_norm: Floats
    """Mean of the finite gradient norms: GraNd (Paul et al., 2021) along one training run; NaN where none is."""
    max_grad_norm: Floats
    """Largest finite gradient norm; NaN where none is."""


def dynamics(seen: Presentations, rows: Ints) -> Dynamics:
    """The measures of every sample; `rows` are each domain's rows, [D], which make a pass over it.

    The probability of a text as true answer is `exp(-loss)`, the geometric mean of its tokens' probabilities; a loss
    that is not finite counts as probability 0.
    """
    by_sample = _BySample(seen)
    finite = np.isfinite(seen.loss)
    probability = np.exp(-np.where(finite, seen.loss, np.inf))
    confidence = by_sample.mean(probability)
    deviation = probability - confidence[seen.sample]
    finite_norm = np.isfinite(seen.grad_norm)
    return Dynamics(
        times_seen=by_sample.counts,
        epochs=_epochs(seen, rows),
        last_step=by_sample.last(seen.step),
        tokens=by_sample.last(seen.tokens),
        mean_loss=by_sample.mean(seen.loss, where=finite),
        last_loss=by_sample.last(seen.loss),
        non_finite=by_sample.count(~finite),
        withheld=by_sample.count(~seen.applied),
        confidence=confidence,
        variability=np.sqrt(by_sample.mean(deviation**2)),
        correctness=by_sample.mean(seen.accuracy, where=np.isfinite(seen.accuracy)),
        forgetting_events=by_sample.count(_forgets(seen, by_sample)),
        mean_grad_norm=by_sample.mean(seen.grad_norm, where=finite_norm),
        max_grad_norm=by_sample.largest(seen.grad_norm, where=finite_norm),
    )


class _BySample:
    """Sums, means and extremes over each sample's presentations."""

    def __init__(self, seen: Presentations) -> None:
        self.sample, self.samples = seen.sample, len(seen.sample_ids)
        self.counts: Ints = np.bincount(seen.sample, minlength=self.samples)
        # Stable, so that each sample's presentations stay in the order of training.
        self.order = np.argsort(seen.sample, kind="stable")

    def count(self, where: Bools) -> Ints:
        return np.bincount(self.sample[where], minlength=self.samples)

    def mean(self, figures: Floats, where: Bools | None = None) -> Floats:
        where = np.ones(len(figures), np.bool_) if where is None else where
        total = np.bincount(self.sample[where], figures[where], minlength=self.samples)
        counts = self.count(where)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)

    def largest(self, figures: Floats, where: Bools) -> Floats:
        found = np.full(self.samples, -np.inf)
        np.maximum.at(found, self.sample[where], figures[where])
        return np.where(np.isfinite(found), found, np.nan)

    def last(self, figures: _Figures) -> _Figures:
        return figures[self.order[np.cumsum(self.counts) - 1]]


def _forgets(seen: Presentations, by_sample: _BySample) -> Bools:
    """Whether each presentation went worse than the sample's one before.

    Worse is a lower share of tokens that were the first choice. Where either of the two has none, worse is a higher
    loss; a loss that is not finite is higher than any that is.
    """
    order = by_sample.order
    accuracy, loss = seen.accuracy[order], np.where(np.isfinite(seen.loss), seen.loss, np.inf)[order]
    same = seen.sample[order][1:] == seen.sample[order][:-1]
    measured = np.isfinite(accuracy[1:]) & np.isfinite(accuracy[:-1])
    worse = np.where(measured, accuracy[1:] < accuracy[:-1], loss[1:] > loss[:-1])
    forgets = np.zeros(len(seen), np.bool_)
    forgets[order[1:]] = same & worse
    return forgets


def _epochs(seen: Presentations, rows: Ints) -> Ints:
    """In how many passes over its domain each sample was presented.

    The plan reads a domain by a cursor that never jumps, so its n-th presentation belongs to pass n // rows.
    """
    passes = np.zeros(len(seen), np.int64)
    for domain, domain_rows in enumerate(rows.tolist()):
        own = np.flatnonzero(seen.domain == domain)
        passes[own] = np.arange(len(own)) // max(1, domain_rows)
    most = int(passes.max(initial=0)) + 1
    seen_in = np.unique(seen.sample * most + passes)
    return np.bincount(seen_in // most, minlength=len(seen.sample_ids))
