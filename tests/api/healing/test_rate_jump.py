"""A learning rate that rose before an incident."""

import pytest

from aft_api.healing.rate_jump import RateJump, find_rate_jump

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
