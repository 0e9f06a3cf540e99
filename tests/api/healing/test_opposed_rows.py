"""The detector of losses that rise through a whole batch while gradients fall."""

import numpy as np
import pytest

from aft_api.healing.detect import judge
from aft_api.healing.opposed_rows import find_opposed
from aft_api.healing.reference import SampleReference
from aft_api.healing.suspects import find_suspects
from aft_contracts import AnomalyKind, StepRecord, Withheld

PAST, WINDOW, ROWS = 60, 10, 8


class Coupled:
    """Rows of one length whose losses and log gradient norms rise and fall together, as a model's do."""

    def __init__(self, lab, seed: int, *, agreement: float = 0.7) -> None:
        self.lab, self.rng, self.agreement = lab, np.random.default_rng(seed), agreement

    def step(self, number: int, *, up: float = 0.0, down: float = 0.0, of: int | None = None) -> StepRecord:
        """A step of which the first `of` rows, else all, lose `up` more and have gradients e^`down` times smaller."""
        moved = ROWS if of is None else of
        rows = []
        for row in range(ROWS):
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


def spoiled(data: Coupled, **how) -> list[StepRecord]:
    window = data.run(PAST, PAST + WINDOW)
    window[4] = data.step(PAST + 4, **how)
    return window


def test_a_rise_through_all_rows_with_smaller_gradients_is_found_within_the_scatter_of_batches(lab, spec) -> None:
    data = Coupled(lab, 1)
    history = data.run(0, PAST)
    window = spoiled(data, up=0.8, down=0.4)
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
    assert opposed(judge(spoiled(data, **how), history, spec)) == {}


class Placed:
    """Steps whose eight rows stand as far out as a test says, in robust deviations of loss and of gradient norm."""

    def __init__(self, lab, spec) -> None:
        self.lab, self.spec = lab, spec
        self.history = Coupled(lab, 7).run(0, PAST)
        self.spread = SampleReference(self.history, spec)

    def step(self, ups, downs, **changes) -> StepRecord:
        rows = tuple(
            self.lab.sample(
                f"x{row}",
                loss=self.lab.loss_at(self.spread, up, step=PAST),
                grad_norm=0.0 if down is None else self.lab.grad_norm_at(self.spread, down, step=PAST),
            )
            for row, (up, down) in enumerate(zip(ups, downs, strict=True))
        )
        odd = {"loss": 9.0, "grad_norm": 0.01}  # as the whole batch has it
        return self.lab.of_rows(PAST, rows).model_copy(update=odd | changes)

    def is_found(self, step: StepRecord) -> bool:
        return bool(find_opposed([step], self.history, self.spread, self.spec))


@pytest.mark.parametrize(
    ("ups", "downs", "changes", "is_found"),
    [
        pytest.param([1.0] * ROWS, [-0.7] * ROWS, {}, True, id="2.83 up and 1.98 down"),
        pytest.param([1.0] * ROWS, [-0.55] * ROWS, {}, False, id="4.4 together"),
        pytest.param([0.75] * ROWS, [-1.0] * ROWS, {}, False, id="the losses alone are less than half the threshold"),
        pytest.param([0.85] * ROWS, [-1.0] * ROWS, {}, True, id="and a little more"),
        pytest.param([1.8] * ROWS, [-0.3] * ROWS, {}, False, id="gradients that have hardly fallen"),
        pytest.param([1.8] * ROWS, [-0.4] * ROWS, {}, True, id="and that have"),
        pytest.param([50.0] + [0.5] * (ROWS - 1), [-50.0] + [-0.3] * (ROWS - 1), {}, False, id="one row, far out"),
        pytest.param([1.0] * ROWS, [0.0] * ROWS, {}, False, id="ordinary gradients"),
        pytest.param([1.0] * ROWS, [None] * ROWS, {}, True, id="no gradient at all"),
        pytest.param([1.0] * ROWS, [-0.7] * ROWS, {"loss": 3.5}, False, id="a batch with an ordinary loss"),
        pytest.param([1.0] * ROWS, [-0.7] * ROWS, {"grad_norm": 5.0}, False, id="a batch with a large gradient"),
        pytest.param([2.0] * 4, [-2.0] * 4, {}, True, id="few rows"),
        pytest.param([3.0] * 3, [-3.0] * 3, {}, False, id="too few rows"),
    ],
)
def test_each_clause_of_the_rule_decides(lab, spec, ups, downs, changes, is_found) -> None:
    placed = Placed(lab, spec)
    assert placed.is_found(placed.step(ups, downs, **changes)) is is_found


@pytest.mark.parametrize("seed", range(10))
def test_damage_that_lasts_does_not_hide_in_its_own_reference(lab, spec, seed) -> None:
    data = Coupled(lab, seed)
    history = data.run(0, 40)
    window = [data.step(step, up=0.6, down=0.4) for step in range(40, 50)]
    assert opposed(judge(window, history, spec))


def test_nobody_is_suspected_of_what_no_row_does(lab, spec) -> None:
    data = Coupled(lab, 1)
    history = data.run(0, PAST)
    window = spoiled(data, up=0.8, down=0.4)
    rows = list(window[4].samples)
    rows[0] = rows[0].model_copy(update={"loss": rows[0].loss + 3.0})
    window[4] = window[4].model_copy(update={"samples": tuple(rows)})
    alone, spike = lab.anomaly(PAST + 4, AnomalyKind.OPPOSED_ROWS), lab.anomaly(PAST + 4)
    assert find_suspects([alone], window, history, spec) == ()
    assert [one.sample_id for one in find_suspects([alone, spike], window, history, spec)] == [rows[0].sample_id]


def test_it_is_silent_on_steps_that_a_human_skipped_and_before_it_is_armed(lab, spec) -> None:
    data = Coupled(lab, 5)
    history = data.run(0, PAST)
    window = spoiled(data, up=2.0, down=0.8)
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
