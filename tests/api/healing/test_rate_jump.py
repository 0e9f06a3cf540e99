"""A learning rate that left its plan before an incident."""

import pytest

from aft_api.healing.detect import judge
from aft_api.healing.rate_jump import RateJump, RatePlan, find_high_rates, find_rate_jump, scale_given_back
from aft_contracts import AnomalyKind, OptimSpec, RateCurve, Repair, RepairKind, Schedule, learning_rate

RATE = 1e-3
PLAIN = Schedule()
LEVEL = OptimSpec(learning_rate=RATE, curve=RateCurve.CONSTANT, warmup_steps=0)


def steps_with(lab, factor_at) -> list:
    return [lab.step(step, lr=RATE * factor_at(step)) for step in range(120)]


def told(jump: RateJump | None) -> tuple | None:
    return jump and (jump.step, jump.factor, jump.is_recorded)


@pytest.mark.parametrize(
    ("factor_at", "jump"),
    [
        pytest.param(lambda step: 1.0, None, id="level"),
        pytest.param(lambda step: 1.0 - step / 200, None, id="decay"),
        pytest.param(lambda step: 1.5 if step >= 90 else 1.0, None, id="a-small-rise"),
        pytest.param(
            lambda step: 8.0 if step >= 90 else 1.0, RateJump(step=90, factor=8.0, is_recorded=True), id="stays-high"
        ),
        pytest.param(
            lambda step: 30.0 if 90 <= step < 94 else 1.0,
            RateJump(step=90, factor=30.0, is_recorded=True),
            id="for-a-moment",
        ),
        pytest.param(lambda step: 8.0 if step >= 101 else 1.0, None, id="after-the-incident"),
    ],
)
def test_jump(lab, spec, factor_at, jump) -> None:
    found = find_rate_jump(steps_with(lab, factor_at), 100, RatePlan(optim=LEVEL, schedule=Schedule()), spec)
    assert told(found) == (jump and (jump.step, pytest.approx(jump.factor), True))


@pytest.mark.parametrize("first_bad_step", [20, 60, 100])
@pytest.mark.parametrize("warmup_steps", [0, 10, 50, 100])
@pytest.mark.parametrize("curve", list(RateCurve))
@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param(Schedule(), id="nothing-else"),
        pytest.param(Schedule().with_rate(8.0, step=55), id="a-command"),
        pytest.param(Schedule().with_rate(4.0, step=50, rewarmup_steps=20), id="a-restart"),
        pytest.param(Schedule().with_rate(0.02, step=30).with_rate(1.0, step=58, rewarmup_steps=8), id="given-back"),
    ],
)
def test_a_planned_change_is_no_jump(lab, spec, first_bad_step, warmup_steps, curve, schedule) -> None:
    optim = OptimSpec(learning_rate=RATE, steps=200, warmup_steps=warmup_steps, curve=curve)
    steps = [lab.step(step, lr=learning_rate(optim, schedule, step)) for step in range(120)]
    assert find_rate_jump(steps, first_bad_step, RatePlan(optim=optim, schedule=schedule), spec) is None


@pytest.mark.parametrize(("warmup_steps", "jump_step"), [(50, 40), (100, 40), (100, 58), (10, 58)])
def test_a_jump_on_top_of_what_is_planned_is_measured_against_the_plan(lab, spec, warmup_steps, jump_step) -> None:
    optim = OptimSpec(learning_rate=RATE, steps=200, warmup_steps=warmup_steps)
    planned = [learning_rate(optim, Schedule(), step) for step in range(61)]
    steps = [lab.step(step, lr=lr * (7.0 if step >= jump_step else 1.0)) for step, lr in enumerate(planned)]
    found = find_rate_jump(steps, 60, RatePlan(optim=optim, schedule=Schedule()), spec)
    assert found is not None
    assert (found.step, found.factor) == (jump_step, pytest.approx(7.0))


def test_a_jump_that_a_repair_has_answered_is_no_jump_again(lab, spec) -> None:
    schedule = Schedule().rolled_back(90).with_rate(1 / 16, step=90, rewarmup_steps=8)
    steps = [
        lab.step(step, lr=learning_rate(LEVEL, schedule, step) * (16.0 if step >= 90 else 1.0)) for step in range(120)
    ]
    assert find_rate_jump(steps, 110, RatePlan(optim=LEVEL, schedule=schedule), spec) is None


def test_too_few_steps_say_nothing(lab, spec) -> None:
    steps = [lab.step(step, lr=RATE * (9.0 if step >= 8 else 1.0)) for step in range(12)]
    assert find_rate_jump(steps, 11, RatePlan(optim=LEVEL, schedule=Schedule()), spec) is None


def test_its_thresholds_are_those_of_the_spec(lab, spec) -> None:
    steps, plan = steps_with(lab, lambda step: 3.0 if step >= 90 else 1.0), RatePlan(optim=LEVEL, schedule=Schedule())
    assert find_rate_jump(steps, 100, plan, spec) is not None
    assert find_rate_jump(steps, 100, plan, spec.model_copy(update={"rate_jump_factor": 3.5})) is None
    assert find_rate_jump(steps, 100, plan, spec.model_copy(update={"rate_jump_steps": 101})) is None


def moved(lab, step: int, rate: float, *, really: float, direction: float = 3.0, **changes):
    """A step that records `rate` and moves the weights by another."""
    return lab.step(step, lr=rate, update_rms=really * direction, **changes)


def secretly(lab, factor_at, count: int = 120, optim: OptimSpec = LEVEL, schedule: Schedule = PLAIN) -> list:
    """Steps whose records keep to the plan, while the weights move as if the rate were `factor_at` times that."""
    rates = [learning_rate(optim, schedule, step) for step in range(count)]
    return [moved(lab, step, rate, really=rate * factor_at(step)) for step, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("factor_at", "jump"),
    [
        pytest.param(lambda step: 1.0, None, id="level"),
        pytest.param(lambda step: 1.0 + 2.5 * (step % 2), None, id="restless"),
        pytest.param(lambda step: 3.0 if step >= 90 else 1.0, None, id="a-small-rise"),
        pytest.param(lambda step: 50.0 if 90 <= step < 94 else 1.0, 50.0, id="for-a-moment"),
        pytest.param(lambda step: 16.0 * (1 + (step - 90) / 10) if step >= 90 else 1.0, 16.0, id="then-damaged"),
        pytest.param(lambda step: 50.0 if step >= 101 else 1.0, None, id="after-the-incident"),
        pytest.param(lambda step: 50.0 if step <= 20 else 1.0, None, id="long-before"),
    ],
)
def test_a_rate_that_nobody_recorded_is_seen_by_how_far_the_weights_move(lab, spec, factor_at, jump) -> None:
    found = find_rate_jump(secretly(lab, factor_at), 100, RatePlan(optim=LEVEL, schedule=Schedule()), spec)
    assert told(found) == (jump and (90, pytest.approx(jump), False))


@pytest.mark.parametrize("curve", list(RateCurve))
@pytest.mark.parametrize(
    "schedule", [Schedule().with_rate(20.0, step=70), Schedule().with_rate(0.02, step=60).with_rate(1.0, step=90)]
)
def test_weights_that_move_further_by_plan_are_no_jump(lab, spec, curve, schedule) -> None:
    optim = OptimSpec(learning_rate=RATE, steps=200, warmup_steps=80, curve=curve)
    steps = secretly(lab, lambda step: 1.0, optim=optim, schedule=schedule)
    assert find_rate_jump(steps, 100, RatePlan(optim=optim, schedule=schedule), spec) is None


def test_steps_that_moved_nothing_say_nothing_about_the_rate(lab, spec) -> None:
    steps = secretly(lab, lambda step: 20.0 if step >= 90 else 1.0)
    for step, one in enumerate(steps):
        if step % 3 == 0:
            steps[step] = one.model_copy(update={"applied": False, "update_rms": None})
        elif step % 5 == 0:
            steps[step] = one.model_copy(update={"update_rms": float("inf")})
    found = find_rate_jump(steps, 100, RatePlan(optim=LEVEL, schedule=Schedule()), spec)
    assert found is not None
    assert (found.step, found.factor) == (91, pytest.approx(20.0))


def test_how_far_weights_may_move_is_the_specs_to_say(lab, spec) -> None:
    steps, plan = secretly(lab, lambda step: 5.0 if step >= 90 else 1.0), RatePlan(optim=LEVEL, schedule=Schedule())
    assert find_rate_jump(steps, 100, plan, spec) is not None
    assert find_rate_jump(steps, 100, plan, spec.model_copy(update={"stride_jump_factor": 6.0})) is None


def test_gradients_that_are_no_spikes_move_weights_without_inertia_that_far(lab, spec) -> None:
    steps = secretly(lab, lambda step: 5.0 if step >= 90 else 1.0)
    nimble = LEVEL.model_copy(update={"beta1": 0.0})
    plan = RatePlan(optim=nimble, schedule=Schedule())
    assert find_rate_jump(steps, 100, plan, spec) is None
    assert find_rate_jump(steps, 100, plan, spec.model_copy(update={"grad_norm_floor": 0.1})) is not None


LOWERED = Repair(
    kind=RepairKind.ROLLBACK, rollback_to_step=100, lr_factor=0.05, rewarmup_steps=8, reasons=("it had jumped",)
)
SCHEDULE = Schedule().rolled_back(100).with_rate(0.05, step=100, rewarmup_steps=8)


@pytest.mark.parametrize(
    ("factor_after", "jump_step", "last", "scale"),
    [
        pytest.param(lambda step: 1.0, 100, 119, None, id="the-jump-lasts"),
        pytest.param(lambda step: 1.0 if step < 106 else 0.05, 100, 119, 1.0, id="the-jump-is-over"),
        pytest.param(lambda step: 1.0 if step < 106 else 0.05, 100, 106, None, id="still-warming-up"),
        pytest.param(lambda step: 0.97 ** (step - 100), 100, 159, None, id="the-curve-falls"),
        pytest.param(lambda step: 0.05, 100, 119, 1.0, id="it-never-came-again"),
        pytest.param(lambda step: 0.05, 112, 111, None, id="it-may-still-come"),
        pytest.param(lambda step: 0.5, 100, 119, None, id="still-ten-times-too-high"),
    ],
)
def test_a_rate_that_was_lowered_for_a_jump_comes_back_when_that_is_over(
    lab, spec, factor_after, jump_step, last, scale
) -> None:
    steps = [lab.step(step, lr=RATE * (factor_after(step) if step >= 100 else 1.0)) for step in range(last + 1)]
    given = scale_given_back(SCHEDULE, LOWERED, steps, LEVEL, spec, jump_step=jump_step)
    assert given == (None if scale is None else pytest.approx(scale))


@pytest.mark.parametrize("target", [0, 10])
def test_a_rate_lowered_near_the_start_comes_back_too(lab, spec, target) -> None:
    repair = LOWERED.model_copy(update={"rollback_to_step": target})
    schedule = Schedule().rolled_back(target).with_rate(0.05, step=target, rewarmup_steps=8)
    steps = [lab.step(step, lr=learning_rate(LEVEL, schedule, step)) for step in range(40)]
    assert scale_given_back(schedule, repair, steps, LEVEL, spec, jump_step=17) == pytest.approx(1.0)


def test_a_rate_that_somebody_set_since_is_left_alone(lab, spec) -> None:
    schedule = Schedule().rolled_back(100).with_rate(0.05, step=100).with_rate(0.1, step=110)
    steps = [lab.step(step, lr=RATE * (0.1 if step >= 100 else 1.0)) for step in range(120)]
    assert scale_given_back(schedule, LOWERED, steps, LEVEL, spec, jump_step=100) is None


@pytest.mark.parametrize(
    ("really", "last_applied", "scale"),
    [
        pytest.param(lambda step: 1.0, True, None, id="the-weights-still-move-too-far"),
        pytest.param(lambda step: 1.0 if step < 106 else 0.05, True, 1.0, id="they-move-as-planned"),
        pytest.param(lambda step: 1.0 if step < 119 else 0.05, False, None, id="the-last-that-moved-them-was-too-far"),
        pytest.param(lambda step: 1.0 if step < 106 else 0.05, False, 1.0, id="withheld-after-it-was-over"),
    ],
)
def test_a_rate_that_nobody_recorded_is_over_when_the_weights_move_as_planned(
    lab, spec, really, last_applied, scale
) -> None:
    rates = [RATE * (0.05 if step >= 100 else 1.0) for step in range(120)]
    steps = [
        moved(lab, step, rate, really=RATE * (really(step) if step >= 100 else 1.0), applied=step < 119 or last_applied)
        for step, rate in enumerate(rates)
    ]
    assert scale_given_back(SCHEDULE, LOWERED, steps, LEVEL, spec, jump_step=100) == (scale and pytest.approx(scale))


@pytest.mark.parametrize(("last", "scale"), [(105, None), (106, None), (110, 1.0)])
def test_a_rate_that_was_lowered_from_the_jump_on_comes_back(lab, spec, last, scale) -> None:
    repair = LOWERED.model_copy(update={"rate_from_step": 106, "rewarmup_steps": 0})
    schedule = Schedule().rolled_back(100).with_rate(0.05, step=106)
    rates = [RATE * (0.05 if step >= 110 else 1.0) for step in range(last + 1)]  # as planned, but for 106 to 109
    steps = [lab.step(step, lr=rate) for step, rate in enumerate(rates)]
    given = scale_given_back(schedule, repair, steps, LEVEL, spec, jump_step=106)
    assert given == (scale and pytest.approx(scale))


AS_PLANNED = RatePlan(optim=LEVEL, schedule=PLAIN)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_high_rate_is_called_out_at_its_first_step(lab, spec, is_recorded) -> None:
    def factor_at(step: int) -> float:
        return 30.0 if 90 <= step < 94 else 1.0

    steps = steps_with(lab, factor_at) if is_recorded else secretly(lab, factor_at)
    found = find_high_rates(steps[85:95], steps[:85], AS_PLANNED, spec)
    assert [(one.kind, one.step, one.applied) for one in found] == [
        (AnomalyKind.RATE_JUMP, step, True) for step in range(90, 94)
    ]
    assert [one.score for one in found] == pytest.approx([30.0] * 4)
    threshold = spec.rate_jump_factor if is_recorded else spec.stride_jump_factor
    assert {one.threshold for one in found} == {threshold}


def test_a_rate_that_stays_high_is_called_out_until_it_is_the_usual_one(lab, spec) -> None:
    steps = steps_with(lab, lambda step: 8.0 if step >= 60 else 1.0)
    found = find_high_rates(steps[50:], steps[:50], AS_PLANNED, spec)
    assert [one.step for one in found] == [*range(60, 60 + spec.rate_jump_steps // 2)]


def test_what_was_called_out_in_one_window_is_not_in_the_next(lab, spec) -> None:
    steps = steps_with(lab, lambda step: 8.0 if 60 <= step < 64 else 1.0)
    assert find_high_rates(steps[70:80], steps[:70], AS_PLANNED, spec) == ()
    assert find_high_rates((), steps, AS_PLANNED, spec) == ()


@pytest.mark.parametrize("schedule", [PLAIN, PLAIN.with_rate(8.0, step=55), PLAIN.with_rate(0.02, step=30)])
def test_a_planned_rate_is_never_called_out(lab, spec, schedule) -> None:
    optim = OptimSpec(learning_rate=RATE, steps=200, warmup_steps=20)
    steps = secretly(lab, lambda _: 1.0, optim=optim, schedule=schedule)
    assert find_high_rates(steps, (), RatePlan(optim=optim, schedule=schedule), spec) == ()


def test_a_window_is_judged_by_its_rates_too(lab, spec) -> None:
    steps = secretly(lab, lambda step: 20.0 if step == 95 else 1.0)
    kinds = {one.kind for one in judge(steps[90:100], steps[:90], spec, plan=AS_PLANNED)}
    assert kinds == {AnomalyKind.RATE_JUMP}
    assert AnomalyKind.RATE_JUMP not in {one.kind for one in judge(steps[90:100], steps[:90], spec)}


def test_a_jump_is_as_high_as_its_record_gets_by_the_last_bad_step(lab, spec) -> None:
    steps = steps_with(lab, lambda step: {90: 4.0, 91: 16.0, 92: 32.0, 93: 64.0}.get(step, 1.0))
    for until, factor in ((None, 4.0), (91, 16.0), (93, 64.0), (99, 64.0)):
        found = find_rate_jump(steps, 90, AS_PLANNED, spec, until_step=until)
        assert found is not None
        assert (found.step, found.factor) == (90, pytest.approx(factor))
    assert find_rate_jump(steps, 89, AS_PLANNED, spec, until_step=99) is None, "it came after the first bad step"


def test_a_gradient_detector_that_is_turned_off_lets_rates_be_judged(lab, spec) -> None:
    steps, plan = secretly(lab, lambda step: 1.0), RatePlan(optim=LEVEL, schedule=Schedule())
    assert find_rate_jump(steps, 100, plan, spec.model_copy(update={"grad_norm_z": 1e6})) is None
