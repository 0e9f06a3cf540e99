"""The detector of losses that rise through a whole batch while gradients fall."""

import numpy as np
import pytest

from aft_api.healing.detect import judge
from aft_api.healing.opposed_rows import FEWEST_ROWS
from aft_contracts import AnomalyKind, StepRecord, Withheld

PAST, WINDOW = 60, 10


class Coupled:
    """Rows of one length whose losses and log gradient norms rise and fall together, as a model's do."""

    def __init__(self, lab, seed: int, *, rows: int = 8, agreement: float = 0.7) -> None:
        self.lab, self.rng, self.rows, self.agreement = lab, np.random.default_rng(seed), rows, agreement

    def step(self, number: int, *, up: float = 0.0, down: float = 0.0, of: int | None = None) -> StepRecord:
        """A step of which the first `of` rows, else all, lose `up` more and have gradients e^`down` times smaller."""
        moved = self.rows if of is None else of
        rows = []
        for row in range(self.rows):
            shared, alone = self.rng.normal(size=2)
            pull = self.agreement * shared + np.sqrt(1 - self.agreement**2) * alone
            is_moved = row < moved
            rows.append(
                self.lab.sample(
                    f"r{number}-{row}",
                    loss=float(3.5 + 0.5 * shared + up * is_moved),
                    grad_norm=float(np.exp(0.3 * pull - down * is_moved)),
                )
            )
        return self.lab.of_rows(number, tuple(rows))

    def run(self, start: int, stop: int) -> list[StepRecord]:
        return [self.step(number) for number in range(start, stop)]


def opposed(found) -> dict[int, float]:
    return {one.step: one.score for one in found if one.kind is AnomalyKind.OPPOSED_ROWS}


def spoiled(data: Coupled, history, **how) -> list[StepRecord]:
    window = data.run(PAST, PAST + WINDOW)
    window[4] = data.step(PAST + 4, **how)
    return window


def test_a_rise_through_all_rows_with_smaller_gradients_is_found_within_the_scatter_of_batches(lab, spec) -> None:
    data = Coupled(lab, 1)
    history = data.run(0, PAST)
    window = spoiled(data, history, up=0.8, down=0.4)
    found = judge(window, history, spec)
    assert {one.kind for one in found} == {AnomalyKind.OPPOSED_ROWS}, "neither the batch nor a row stands out"
    [(step, score)] = opposed(found).items()
    assert step == PAST + 4
    assert score > spec.opposed_z
    [anomaly] = found
    assert (anomaly.applied, anomaly.threshold, anomaly.sample_ids) == (True, spec.opposed_z, ())


@pytest.mark.parametrize(
    "how",
    [
        {"up": 0.8, "down": -0.6},
        {"up": 0.0, "down": 1.5},
        {"up": 1.2, "down": 1.5, "of": 1},
    ],
    ids=["harder rows", "gradients alone", "one row"],
)
def test_what_else_moves_loss_or_gradient_is_left_to_the_others(lab, spec, how) -> None:
    data = Coupled(lab, 2)
    history = data.run(0, PAST)
    assert opposed(judge(spoiled(data, history, **how), history, spec)) == {}


def test_a_batch_of_a_row_or_two_says_nothing_of_all_rows(lab, spec) -> None:
    told = {}
    for rows in (FEWEST_ROWS - 1, FEWEST_ROWS):
        data = Coupled(lab, 3, rows=rows)
        history = data.run(0, PAST)
        told[rows] = bool(opposed(judge(spoiled(data, history, up=2.5, down=1.2), history, spec)))
    assert told == {FEWEST_ROWS - 1: False, FEWEST_ROWS: True}


def test_rows_without_any_gradient_have_fallen_as_far_as_can_be(lab, spec) -> None:
    data = Coupled(lab, 4)
    history = data.run(0, PAST)
    window = spoiled(data, history, up=0.8)
    dead = [row.model_copy(update={"grad_norm": 0.0}) for row in window[4].samples]
    window[4] = lab.of_rows(PAST + 4, tuple(dead))
    assert list(opposed(judge(window, history, spec))) == [PAST + 4]


def test_it_is_silent_on_steps_that_a_human_skipped_and_before_it_is_armed(lab, spec) -> None:
    data = Coupled(lab, 5)
    history = data.run(0, PAST)
    window = spoiled(data, history, up=2.0, down=0.8)
    assert opposed(judge(window, history, spec))
    skipped = list(window)
    skipped[4] = window[4].model_copy(update={"withheld": Withheld.SKIPPED, "applied": False})
    assert opposed(judge(skipped, history, spec)) == {}
    assert opposed(judge(window, history, spec, armed_from=PAST)) == {}


@pytest.mark.parametrize("agreement", [0.0, 0.7])
def test_clean_batches_raise_none_however_loss_and_gradient_hang_together(lab, spec, agreement) -> None:
    data = Coupled(lab, 6, agreement=agreement)
    steps = data.run(0, 1000)
    found = {}
    for start in range(PAST, 1000, WINDOW):
        found |= opposed(judge(steps[start : start + WINDOW], steps[start - PAST : start], spec))
    assert found == {}
