"""What a row is measured against."""

import math

import numpy as np
import pytest

from aft_api.healing.reference import SampleReference

BAD = 9.0


def all_of(spec):
    """Measured against the median of all rows, not of the half that is nearest in length."""
    return spec.model_copy(update={"nearest_share": 1.0})


def rows_of(lab, step: int, losses, tokens: int, domain: str = "chat"):
    return lab.of_rows(
        step,
        tuple(
            lab.sample(f"r{tokens}-{row}", loss=float(loss), tokens=tokens, domain=domain)
            for row, loss in enumerate(losses)
        ),
    )


def test_among_rows_of_one_length_it_is_the_distance_in_upper_semi_deviations(lab, spec) -> None:
    losses = np.random.default_rng(1).gumbel(3.5, 0.6, 101)
    known = SampleReference([rows_of(lab, 0, losses, 64)], all_of(spec))
    above = losses[losses > np.median(losses)] - np.median(losses)
    spread = np.sqrt(np.mean(above**2)) * (1 + 5 / 101)
    expected = (BAD - np.median(losses)) / spread
    assert known.loss_z(lab.sample("x", loss=BAD, tokens=64), step=1) == pytest.approx(expected)


def test_a_quarter_of_the_tokens_halves_the_z(lab, spec) -> None:
    losses = np.random.default_rng(2).normal(3.5, 0.6, 200)
    known = SampleReference([rows_of(lab, 0, losses, 64)], all_of(spec))
    long, short = (known.loss_z(lab.sample("x", loss=BAD, tokens=tokens), step=1) for tokens in (64, 16))
    assert short == pytest.approx(long / 2)


def test_the_spread_is_that_of_all_lengths_where_few_rows_are_as_long(lab, spec) -> None:
    few = spec.model_copy(update={"nearest_share": 0.1, "nearest_samples": 48})
    scores = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        past = [rows_of(lab, length, rng.normal(6.0 - 0.2 * length, 0.5, 50), 64 + length) for length in range(12)]
        scores.append(SampleReference(past, few).loss_z(lab.sample("x", loss=BAD, tokens=70), step=99))
    expected = (BAD - (6.0 - 0.2 * 6)) / 0.5
    assert np.mean(scores) == pytest.approx(expected, rel=0.05)
    # A spread of fifty rows alone varies by a seventh from draw to draw.
    assert np.std(scores) / np.mean(scores) < 0.06


def test_what_all_lengths_lose_does_not_count_as_spread(lab, spec) -> None:
    rng = np.random.default_rng(3)
    past = [rows_of(lab, 0, rng.normal(7.0, 0.2, 100), 60), rows_of(lab, 1, rng.normal(2.0, 0.2, 100), 100)]
    known = SampleReference(past, spec)
    middling = (known.loss_z(lab.sample("x", loss=7.0, tokens=tokens), step=2) for tokens in (60, 100))
    ordinary, bad = middling
    assert abs(ordinary) < 1
    assert bad > 15


@pytest.mark.parametrize("at_least", [2.0, 6.0, 10.0])
def test_the_quick_look_agrees_with_the_score(lab, spec, at_least) -> None:
    trainer = lab.trainer(11, rows=10)
    past = trainer.run(60)
    known = SampleReference(past, spec)
    rows = [(row, step.step) for step in past[-20:] for row in step.samples]
    rows += [(lab.sample(f"x{n}", loss=1.0 + n / 10, tokens=4 + n % 90), 60) for n in range(200)]
    found = 0
    for row, step in rows:
        z = known.loss_z(row, step=step)
        assert z is not None
        assert known.standing_out(row, step=step, at_least=at_least) == (z if z >= at_least else None)
        found += z >= at_least
    assert 0 < found < len(rows)


def test_a_row_is_not_measured_against_itself(lab, spec) -> None:
    fewest = spec.model_copy(update={"min_samples": 8})
    past = [rows_of(lab, 0, [3.0] * 8, 32)]
    known = SampleReference(past, fewest)
    assert known.loss_z(past[0].samples[0], step=0) is None
    assert known.loss_z(lab.sample("x", loss=3.0), step=0) == 0


def test_a_norm_of_zero_has_no_score_and_one_that_is_not_finite_is_out_of_all_bounds(lab, spec) -> None:
    known = SampleReference([rows_of(lab, 0, [3.0 + 0.1 * n for n in range(60)], 32)], spec)
    assert known.grad_norm_z(lab.sample("x", grad_norm=0.0), step=1) is None
    assert known.grad_norm_z(lab.sample("x", grad_norm=math.inf), step=1) == math.inf
