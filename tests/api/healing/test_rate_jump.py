"""A learning rate that rose before an incident."""

import pytest

from aft_api.healing.rate_jump import RateJump, find_rate_jump, scale_given_back
from aft_contracts import Repair, RepairKind, Schedule

RATE = 1e-3


def steps_with(lab, factor_at) -> list:
    return [lab.step(step, lr=RATE * factor_at(step)) for step in range(120)]


@pytest.mark.parametrize(
    ("factor_at", "jump"),
    [
        pytest.param(lambda step: 1.0, None, id="level"),
        pytest.param(lambda step: min(1.0, (step + 1) / 10), None, id="warm-up"),
        pytest.param(lambda step: 1.0 - step / 200, None, id="decay"),
        pytest.param(lambda step: 1.5 if step >= 90 else 1.0, None, id="a-small-rise"),
        pytest.param(lambda step: 8.0 if step >= 90 else 1.0, RateJump(step=90, factor=8.0), id="stays-high"),
        pytest.param(lambda step: 30.0 if 90 <= step < 94 else 1.0, RateJump(step=90, factor=30.0), id="for-a-moment"),
        pytest.param(lambda step: 8.0 if step >= 101 else 1.0, None, id="after-the-incident"),
    ],
)
def test_jump(lab, spec, factor_at, jump) -> None:
    found = find_rate_jump(steps_with(lab, factor_at), 100, spec)
    if jump is None:
        assert found is None
    else:
        assert found is not None
        assert (found.step, found.factor) == (jump.step, pytest.approx(jump.factor))


def test_too_few_steps_say_nothing(lab, spec) -> None:
    steps = [lab.step(step, lr=RATE * (9.0 if step >= 8 else 1.0)) for step in range(12)]
    assert find_rate_jump(steps, 11, spec) is None


LOWERED = Repair(
    kind=RepairKind.ROLLBACK, rollback_to_step=100, lr_factor=0.05, rewarmup_steps=8, reasons=("it had jumped",)
)


@pytest.mark.parametrize(
    ("factor_after", "last", "scale"),
    [
        pytest.param(lambda step: 1.0, 119, None, id="the-jump-lasts"),
        pytest.param(lambda step: 1.0 if step < 106 else 0.05, 119, 1.0, id="the-jump-is-over"),
        pytest.param(lambda step: 1.0 if step < 106 else 0.05, 106, None, id="still-warming-up"),
        pytest.param(lambda step: 0.97 ** (step - 100), 159, None, id="the-curve-falls"),
    ],
)
def test_a_rate_that_was_lowered_for_a_jump_comes_back_when_that_is_over(lab, factor_after, last, scale) -> None:
    schedule = Schedule().rolled_back(100).with_rate(0.05, step=100, rewarmup_steps=8)
    steps = [lab.step(step, lr=RATE * (factor_after(step) if step >= 100 else 1.0)) for step in range(last + 1)]
    assert scale_given_back(schedule, LOWERED, steps) == (None if scale is None else pytest.approx(scale))


def test_a_rate_that_somebody_set_since_is_left_alone(lab) -> None:
    schedule = Schedule().rolled_back(100).with_rate(0.05, step=100).with_rate(0.1, step=110)
    steps = [lab.step(step, lr=RATE * (0.1 if step >= 100 else 1.0)) for step in range(120)]
    assert scale_given_back(schedule, LOWERED, steps) is None
