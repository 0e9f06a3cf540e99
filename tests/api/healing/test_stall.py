"""The stall detector."""

import pytest

from aft_api.healing.detect import judge
from aft_api.healing.stall import find_stalls
from aft_contracts import AnomalyKind, DetectionSpec, Withheld

SPEC = DetectionSpec(stall_steps=4)


def learning(lab, steps: range):
    return [lab.step(step, loss=3.5 + 0.01 * (step % 7), samples=(lab.sample(f"r{step}"),)) for step in steps]


@pytest.mark.parametrize("changes", [{"grad_norm": 0.0}, {"loss": 3.25}])
def test_it_speaks_after_stall_steps_and_again_while_it_lasts(lab, changes) -> None:
    still = [
        lab.step(step, **{"loss": 3 + step, **changes}, samples=(lab.sample(f"r{step}"),)) for step in range(20, 31)
    ]
    found = find_stalls([*learning(lab, range(20)), *still], SPEC)
    # The first of several equal losses differs from the one before it.
    first = 23 if "grad_norm" in changes else 24
    assert [(one.kind, one.step, one.score) for one in found] == [
        (AnomalyKind.STALL, first, 4), (AnomalyKind.STALL, first + 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"loss": 3.25, "samples": ()}, id="a-converged-run-on-the-same-rows"),
        pytest.param({"grad_norm": 1e-30}, id="a-gradient-however-small"),
        pytest.param({"grad_norm": 0.0, "lr": 0.0}, id="no-learning-rate"),
        pytest.param({"grad_norm": 0.0, "withheld": Withheld.SKIPPED}, id="skipped-by-a-human"),
    ],
)
def test_what_is_no_stall(lab, changes) -> None:
    still = [lab.step(step, **{"loss": 3.0 + step % 5, **changes}) for step in range(20, 40)]
    assert find_stalls([*learning(lab, range(20)), *still], SPEC) == ()


def test_one_step_that_learns_ends_the_count(lab) -> None:
    norms = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert find_stalls([lab.step(step, loss=step, grad_norm=norm) for step, norm in enumerate(norms)], SPEC) == ()


def test_steps_from_before_the_last_intervention_do_not_count(lab) -> None:
    steps = [lab.step(step, loss=3 + step, grad_norm=0.0) for step in range(6)]
    assert [one.step for one in find_stalls(steps, SPEC)] == [3]
    assert [one.step for one in find_stalls(steps, SPEC, armed_from=2)] == [5]
    assert find_stalls(steps, SPEC, armed_from=3) == ()


def test_a_window_is_judged_with_the_steps_before_it(lab) -> None:
    history = [
        *learning(lab, range(20)),
        *(lab.step(step, loss=3 + step / 100, grad_norm=0.0) for step in range(20, 22)),
    ]
    window = [lab.step(step, loss=3 + step / 100, grad_norm=0.0) for step in range(22, 25)]
    assert [(one.kind, one.step) for one in judge(window, history, SPEC)] == [(AnomalyKind.STALL, 23)]
