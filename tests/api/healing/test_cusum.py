"""The drift detector."""

import pytest

from aft_api.healing.cusum import find_drift
from aft_contracts import DetectionSpec

SPEC = DetectionSpec(cusum_steps=16, min_steps=16)


def drifting(lab, slope: float, *, spike: float = 0.0):
    noise = lab.trainer(1).rng.normal(0, 0.06, 400).tolist()
    return [
        lab.step(step, loss=3.0 + one + slope * max(0, step - 200) + spike * (step == 200))
        for step, one in enumerate(noise)
    ]


def test_a_lagged_reference_sees_a_drift_that_hides_in_its_own_recent_past(lab) -> None:
    steps = drifting(lab, 0.004)
    found = find_drift(steps, SPEC)
    assert 200 < found[0].step <= 260
    late = find_drift(steps, SPEC.model_copy(update={"cusum_lag": 8}))
    assert late[0].step - 200 >= 1.25 * (found[0].step - 200)


def test_it_is_silent_on_a_steady_a_falling_and_a_spiking_loss(lab) -> None:
    for steps in (drifting(lab, 0.0), drifting(lab, -0.004), drifting(lab, 0.0, spike=5.0)):
        assert find_drift(steps, DetectionSpec()) == ()


@pytest.mark.parametrize("steps", [0, 61, 62, 63, 64, 79, 80])
def test_it_arms_after_the_lag_and_min_steps(lab, steps: int) -> None:
    spec = DetectionSpec(cusum_threshold=1.0)
    armed = spec.cusum_lag + spec.min_steps - 1
    found = find_drift([*(lab.step(step) for step in range(steps)), lab.step(steps, loss=99.0)], spec)
    assert bool(found) is False  # one step never brings more than a quarter of the alarm
    jump = [*(lab.step(step) for step in range(steps)), *(lab.step(steps + more, loss=99.0) for more in range(5))]
    assert armed == 63
    assert [one.step for one in find_drift(jump, spec)] == ([steps + 4] if steps >= armed else [])


def test_a_larger_share_of_the_alarm_for_one_step_makes_it_quicker(lab) -> None:
    jump = [*(lab.step(step) for step in range(80)), *(lab.step(80 + more, loss=99.0) for more in range(5))]
    assert [find_drift(jump, DetectionSpec(cusum_step_share=share))[0].step for share in (0.25, 0.5, 1.0)] == [
        84, 82, 81,
    ]  # fmt: skip


def test_the_first_descent_of_a_run_does_not_hide_a_rise_that_comes_later(lab) -> None:
    noise = lab.trainer(1).rng.normal(0, 0.2, 240).tolist()
    losses = [3.6 + 2.0 * 0.97**step + one + 0.5 * (step >= 180) for step, one in enumerate(noise)]
    steps = [lab.step(step, loss=loss) for step, loss in enumerate(losses)]
    found = find_drift(steps, DetectionSpec())
    assert 180 < found[0].step <= 212
    far_back = find_drift(steps, DetectionSpec(cusum_steps=128))
    assert not far_back or far_back[0].step > found[0].step
    assert find_drift(steps[:180], DetectionSpec()) == ()
