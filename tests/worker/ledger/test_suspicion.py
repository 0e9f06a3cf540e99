"""Suspicion on made-up runs whose losses fall and depend on length: what is expected must not be suspicious."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_worker.ledger.expectation import standardised
from aft_worker.ledger.presentations import Presentations
from aft_worker.ledger.suspicion import DOUBT, LARGEST_Z, NOISE_SHIFT, suspicion
from tests.worker.ledger.conftest import presentations_of


class Made(NamedTuple):
    """A made-up run, and what only its maker knows."""

    seen: Presentations
    is_noise: np.ndarray
    """Which samples are noise."""
    oracle: np.ndarray
    """Log-likelihood ratio of noise for each sample, from the true expectation, spread and shift: none ranks better."""


def made(*, samples: int, epochs: int, noisy: int = 0, shift: float = 1.2, seed: int = 0, start: float = 5.0) -> Made:
    """A run whose losses fall from `start` to 1 nat, short answers being harder; the first `noisy` are noise."""
    rng = np.random.default_rng(seed)
    sample = np.concatenate([rng.permutation(samples) for _ in range(epochs)])
    tokens = rng.integers(4, 60, samples)[sample]
    learned = 1 - np.exp(-6 * np.arange(len(sample)) / len(sample))
    expected, spread = start - (start - 1) * learned + 2 / np.sqrt(tokens), 1.5 / np.sqrt(tokens)
    moved = shift * learned
    loss = expected + spread * rng.normal(size=len(sample)) + (sample < noisy) * moved
    ratio = moved / spread**2 * (loss - expected - moved / 2)
    seen = Presentations(
        sample_ids=np.asarray([f"s{i}" for i in range(samples)], dtype=object),
        domains=("d",),
        domain_of=np.zeros(samples, np.int64),
        sample=sample,
        step=np.arange(len(sample)) // 8,
        loss=loss,
        grad_norm=np.exp(loss / 4 + 0.1 * rng.normal(size=len(sample))),
        accuracy=np.full(len(sample), np.nan),
        tokens=tokens,
        applied=np.ones(len(sample), np.bool_),
    )
    return Made(seen, np.arange(samples) < noisy, np.bincount(sample, ratio))


def run(**given: Any) -> Presentations:
    """The presentations of a made-up run."""
    return made(**given).seen


def auroc(score: np.ndarray, is_noise: np.ndarray) -> float:
    """Chance that a noisy sample scores above a clean one."""
    return float((score[is_noise][:, None] > score[~is_noise][None, :]).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_noise_ranks_nearly_as_high_as_an_oracle_would_put_it(epochs: int, seed: int) -> None:
    seen, is_noise, oracle = made(samples=3000, epochs=epochs, noisy=60, seed=seed)
    assert auroc(suspicion(seen).score, is_noise) > auroc(oracle, is_noise) - 0.03


def test_neither_time_nor_length_is_suspicious() -> None:
    seen = run(samples=4000, epochs=1)
    score = suspicion(seen).loss
    order = seen.sample
    early, late = score[order[400:1200]], score[order[-800:]]
    assert np.median(late) < np.median(early) < 0, "a late presentation clears more than an early one"
    found = standardised(seen.loss, seen.tokens)
    for some in (seen.tokens < 10, seen.tokens > 50, seen.step < 40, seen.step > 400):
        assert abs(np.median(found.z[some])) < 0.15
        assert np.median(np.abs(found.z[some])) * 1.4826 == pytest.approx(1, abs=0.25)


def test_raw_loss_would_have_missed_what_suspicion_finds() -> None:
    seen, is_noise, _ = made(samples=3000, epochs=1, noisy=60)
    raw = np.empty(3000)
    raw[seen.sample] = seen.loss
    assert auroc(suspicion(seen).score, is_noise) > auroc(raw, is_noise) + 0.1


def test_evidence_is_drawn_towards_nothing_where_it_is_scarce() -> None:
    """By the formula: all figures equal give z = 0, weight 1, and so -NOISE_SHIFT/2 a presentation."""
    once, thrice = (suspicion(presentations_of(*[(name, 1.0) for name in "abcdefgh"] * n)).loss for n in (1, 3))
    assert once == pytest.approx(np.full(8, -NOISE_SHIFT / 2 / (1 + DOUBT)))
    assert thrice == pytest.approx(np.full(8, -NOISE_SHIFT / 2 * 3 / (3 + DOUBT)))


def test_a_loss_that_is_not_finite_is_most_suspicious_and_blames_nobody_else() -> None:
    seen = run(samples=500, epochs=1)
    before = suspicion(seen)
    broken = seen.loss.copy()
    broken[250] = math.nan
    norms = np.where(seen.step == seen.step[250], math.nan, seen.grad_norm)
    after = suspicion(replace(seen, loss=broken, grad_norm=norms))
    evil = seen.sample[250]
    assert np.argmax(after.score) == evil
    assert after.loss[evil] == pytest.approx((LARGEST_Z - NOISE_SHIFT / 2) / (1 + DOUBT))
    neighbours = seen.sample[(seen.step == seen.step[250]) & (seen.sample != evil)]
    assert (after.grad_norm[neighbours] == 0).all(), "without a norm there is no evidence from it"
    assert np.isfinite(after.score).all()
    assert np.corrcoef(np.delete(before.loss, evil), np.delete(after.loss, evil))[0, 1] > 0.99


def test_domains_are_judged_apart() -> None:
    hard, easy = run(samples=600, epochs=1, start=9.0), run(samples=600, epochs=1, seed=1)
    both = Presentations(
        sample_ids=np.concatenate([hard.sample_ids, easy.sample_ids]),
        domains=("hard", "easy"),
        domain_of=np.repeat([0, 1], 600),
        sample=np.stack([hard.sample, easy.sample + 600], axis=1).ravel(),
        step=np.repeat(hard.step, 2),
        **{
            name: np.stack([getattr(hard, name), getattr(easy, name)], axis=1).ravel()
            for name in ("loss", "grad_norm", "accuracy", "tokens", "applied")
        },
    )
    assert suspicion(both).score == pytest.approx(np.concatenate([suspicion(hard).score, suspicion(easy).score]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(width=32), st.integers(1, 500)), min_size=1, max_size=80)
)
def test_any_ledger_gives_finite_scores(seen: list[tuple[str, float, int]]) -> None:
    """Of whatever float32 a device may have measured."""
    found = suspicion(
        presentations_of(
            *((name, abs(loss), tokens) for name, loss, tokens in seen), columns=("sample_id", "loss", "tokens")
        )
    )
    assert np.isfinite(found.score).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(scale=st.floats(0.1, 100), offset=st.floats(-3, 3), seed=st.integers(0, 5))
def test_z_does_not_depend_on_unit_or_origin(scale: float, offset: float, seed: int) -> None:
    seen = run(samples=300, epochs=1, seed=seed)
    one = standardised(seen.loss, seen.tokens).z
    other = standardised(seen.loss * scale + offset, seen.tokens).z
    assert other == pytest.approx(one, rel=1e-3, abs=1e-3)
