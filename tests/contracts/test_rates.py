"""Learning rate and clip of given steps."""

import optax
import pytest

from aft_contracts import OptimSpec, RateCurve, Schedule, clip_norm, learning_rate

WARMED = {"learning_rate": 1e-3, "steps": 110, "warmup_steps": 10}
SCHEDULE = Schedule().with_rate(0.5, step=20, rewarmup_steps=4).with_rate(2.0, step=50)


@pytest.mark.parametrize(
    ("curve", "step", "expected"),
    [
        ("constant", 0, 1e-4),
        ("constant", 4, 5e-4),
        ("constant", 9, 1e-3),
        ("constant", 10, 1e-3),
        ("constant", 109, 1e-3),
        ("linear", 0, 1e-4),
        ("linear", 10, 1e-3),
        ("linear", 60, 5.5e-4),
        ("linear", 110, 1e-4),
        ("linear", 500, 1e-4),
        ("cosine", 9, 1e-3),
        ("cosine", 10, 1e-3),
        ("cosine", 60, 5.5e-4),
        ("cosine", 110, 1e-4),
        ("cosine", 500, 1e-4),
    ],
)
def test_curve_at_step(curve: str, step: int, expected: float) -> None:
    optim = OptimSpec(**WARMED, curve=RateCurve(curve))
    assert learning_rate(optim, Schedule(), step) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("warmup", [1, 2, 10])
@pytest.mark.parametrize("curve", list(RateCurve))
def test_it_is_what_the_schedules_of_optax_say(curve: RateCurve, warmup: int) -> None:
    optim = OptimSpec(learning_rate=1e-3, steps=90, warmup_steps=warmup, curve=curve)
    peak, decay_steps = optim.learning_rate, optim.steps - warmup
    climb = optax.linear_schedule(peak / warmup, peak, max(1, warmup - 1))
    after = {
        RateCurve.CONSTANT: optax.constant_schedule(peak),
        RateCurve.LINEAR: optax.linear_schedule(peak, 0.1 * peak, decay_steps),
        RateCurve.COSINE: optax.cosine_decay_schedule(peak, decay_steps, alpha=0.1),
    }[curve]
    peer = optax.join_schedules([climb, after], [warmup])
    ours = [learning_rate(optim, Schedule(), step) for step in range(100)]
    assert ours == pytest.approx([float(peer(step)) for step in range(100)], rel=1e-5)


@pytest.mark.parametrize(
    ("step", "factor"), [(19, 1.0), (20, 0.125), (21, 0.25), (22, 0.375), (23, 0.5), (49, 0.5), (50, 2.0), (99, 2.0)]
)
def test_change_scales_the_curve_and_climbs_to_it(step: int, factor: float) -> None:
    optim = OptimSpec(learning_rate=1e-3, warmup_steps=0, curve=RateCurve.CONSTANT)
    assert learning_rate(optim, SCHEDULE, step) == pytest.approx(1e-3 * factor, rel=1e-5)


@pytest.mark.parametrize(("warmup", "steps", "step", "expected"), [(0, 1, 0, 1e-3), (1, 1, 0, 1e-3), (10, 5, 4, 5e-4)])
def test_odd_lengths_have_a_rate_too(warmup: int, steps: int, step: int, expected: float) -> None:
    optim = OptimSpec(learning_rate=1e-3, warmup_steps=warmup, steps=steps)
    assert learning_rate(optim, Schedule(), step) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (29, 1.0), (30, 0.25), (40, 4.0)])
def test_last_clip_change_holds(step: int, expected: float) -> None:
    schedule = Schedule().with_clip(0.25, step=30).with_clip(4.0, step=40)
    assert clip_norm(OptimSpec(), schedule, step) == expected
