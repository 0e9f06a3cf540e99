"""The statistics of label_noise on known numbers, and the rows that it spoils."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_noise import auroc, auroc_interval, precision
from benchmarks.noisy_rows import Noise, word_data


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    score = np.asarray([3.0, 1.0, 2.0, 2.0, 0.0])
    is_spoiled = np.asarray([True, False, True, False, False])
    # 3 is above all three clean ones; 2 is above two and level with one.
    assert auroc(score, is_spoiled) == pytest.approx((3 + 2.5) / 6)
    assert auroc(-score, is_spoiled) == pytest.approx(1 - 5.5 / 6)


def test_the_interval_holds_the_figure_and_narrows_with_rows() -> None:
    rng = np.random.default_rng(0)

    def interval(rows: int) -> tuple[float, tuple[float, float]]:
        is_spoiled = np.arange(rows) < rows // 10
        score = rng.normal(size=rows) + 2 * is_spoiled
        return auroc(score, is_spoiled), auroc_interval(score, is_spoiled)

    (few, (few_low, few_high)), (many, (many_low, many_high)) = interval(100), interval(10_000)
    assert few_low < few < few_high
    assert many_low < many < many_high
    assert many_high - many_low < (few_high - few_low) / 3
    assert many_low < 0.921 < many_high, "the normal distribution's own: Phi(2 / sqrt(2))"


def test_precision_counts_the_spoiled_among_the_first() -> None:
    assert precision(np.asarray([9.0, 1.0, 5.0, 7.0]), np.asarray([True, True, False, False])) == 0.5


def test_two_in_a_hundred_rows_are_spoiled_and_the_rest_stay(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = {"".join(rng.choices("abcdefgh", k=6)): [f"P{rng.randrange(20)}" for _ in range(5)] for _ in range(400)}
    dictionary = tmp_path / "cmudict.dict"
    dictionary.write_text("".join(f"{word} {' '.join(phones)}\n" for word, phones in words.items()))
    _, data = word_data(tmp_path / "run", dictionary, seed=3, rows=300)
    lines = [json.loads(line) for line in (tmp_path / "run/rows.jsonl").read_text().splitlines()]
    right = {
        line["id"]: line["completion"].split() == words[line["prompt"].removesuffix(" =").replace(" ", "")]
        for line in lines
    }
    assert data.rows == len(lines) == 300
    assert {row for row, is_right in right.items() if not is_right} == set(data.noise)
    assert sorted(data.noise.values()) == [Noise.GARBAGE] * 3 + [Noise.SWAPPED] * 3
    swapped = {line["id"]: line["completion"].split() for line in lines if data.noise.get(line["id"]) is Noise.SWAPPED}
    assert all(phones in words.values() for phones in swapped.values())
