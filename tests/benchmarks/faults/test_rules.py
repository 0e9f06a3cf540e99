"""What the rules of others say of a series of steps."""

import math
import random
from collections.abc import Sequence

import pytest

from benchmarks.faults.rules import RULES, Reading, Rule, Ruling


def steady(steps: int) -> list[Reading]:
    rng = random.Random(0)
    return [Reading(loss=3.0 + rng.gauss(0, 0.05), grad_norm=1.0 + rng.gauss(0, 0.05)) for _ in range(steps)]


def rulings(name: str, readings: Sequence[Reading]) -> list[Ruling]:
    rule = rule_of(name)
    return [rule.rule(reading) for reading in readings]


def alarms(name: str, readings: Sequence[Reading]) -> tuple[list[int], list[int]]:
    """Steps with an alarm, and steps whose update is withheld."""
    ruled = rulings(name, readings)
    return (
        [step for step, ruling in enumerate(ruled) if ruling.alarm],
        [step for step, ruling in enumerate(ruled) if not ruling.applied],
    )


def rule_of(name: str) -> Rule:
    (found,) = [rule for rule in RULES if rule.name == name]
    return found()


SPIKE = Reading(loss=9.0, grad_norm=60.0)
NAN = Reading(loss=math.nan, grad_norm=math.nan)


@pytest.mark.parametrize(
    ("name", "one_spike", "one_nan"),
    [
        ("no supervision", [], []),
        ("OLMo-core SkipStep", [150], [150]),
        ("LLM Foundry KillLossSpike", [], []),
        ("Lightning SpikeDetection", [150], [150]),
        ("AXLearn drop norm", [150], [150]),
        ("Optax apply_if_finite", [], [150]),
    ],
)
def test_alarms_of_one_bad_step(name: str, one_spike: list[int], one_nan: list[int]) -> None:
    for bad, expected in ((SPIKE, one_spike), (NAN, one_nan)):
        found, withheld = alarms(name, [*steady(150), bad, *steady(5)])
        assert found[:1] == expected[:1]
        assert withheld[:1] == expected[:1]


@pytest.mark.parametrize(
    ("name", "first"), [("OLMo-core SkipStep", 63), ("Lightning SpikeDetection", 1), ("AXLearn drop norm", 1)]
)
def test_a_rule_is_armed_from_the_step_that_it_says(name: str, first: int) -> None:
    assert rule_of(name).armed_after == first
    spike = Reading(loss=20.0, grad_norm=60.0)
    assert alarms(name, [*steady(first), spike])[0] == [first]
    if first > 1:
        assert alarms(name, [*steady(first - 1), spike])[0] == []


def test_kill_loss_spike_tells_of_the_fifth_step_in_a_row_and_lets_the_run_go_on() -> None:
    name = "LLM Foundry KillLossSpike"
    assert alarms(name, [*steady(150), *([SPIKE] * 6), *steady(5)]) == ([154, 155], [])
    assert not any(ruling.ends_run for ruling in rulings(name, [*steady(150), *([SPIKE] * 6)]))
    assert alarms(name, [*steady(150), *([SPIKE] * 4), *steady(5)])[0] == []


def test_skip_step_takes_the_outlier_into_its_window_so_that_followers_hide() -> None:
    found, _ = alarms("OLMo-core SkipStep", [*steady(150), *([SPIKE] * 8)])
    assert 150 in found
    assert len(found) < 8


def test_apply_if_finite_lets_the_sixth_in_a_row_through() -> None:
    _, withheld = alarms("Optax apply_if_finite", [*steady(20), *([NAN] * 7)])
    assert withheld == [20, 21, 22, 23, 24]


def test_zclip_alarms_where_it_clips_and_applies_what_is_left() -> None:
    *before, last = rulings("ZClip as an alarm", [*steady(150), SPIKE])
    assert last.alarm
    assert last.applied
    assert last.clip_norm == pytest.approx(1.0, abs=0.1)
    assert all(ruling.clip_norm == math.inf for ruling in before if not ruling.alarm)


def test_a_ruling_is_felt_where_it_withholds_or_clips_below_the_runs_own_norm() -> None:
    assert Ruling(applied=False).is_felt(1.0)
    assert Ruling(clip_norm=0.9).is_felt(1.0)
    assert not Ruling(clip_norm=1.1, alarm=True).is_felt(1.0)
