"""What the rules of others say of a series of steps."""

import math
import random
from collections.abc import Sequence

import pytest

from benchmarks.faults.rules import RULES, Reading, Rule


def steady(steps: int) -> list[Reading]:
    rng = random.Random(0)
    return [Reading(loss=3.0 + rng.gauss(0, 0.05), grad_norm=1.0 + rng.gauss(0, 0.05)) for _ in range(steps)]


def alarms(name: str, readings: Sequence[Reading]) -> tuple[list[int], list[int]]:
    """Steps with an alarm, and steps whose update is withheld."""
    rule = rule_of(name)
    rulings = [rule.rule(reading) for reading in readings]
    return (
        [step for step, ruling in enumerate(rulings) if ruling.alarm],
        [step for step, ruling in enumerate(rulings) if not ruling.applied],
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


def test_kill_loss_spike_ends_the_run_at_the_fifth_step_in_a_row() -> None:
    assert alarms("LLM Foundry KillLossSpike", [*steady(150), *([SPIKE] * 5)])[0] == [154]
    assert alarms("LLM Foundry KillLossSpike", [*steady(150), *([SPIKE] * 4), *steady(5)])[0] == []


def test_skip_step_takes_the_outlier_into_its_window_so_that_followers_hide() -> None:
    found, _ = alarms("OLMo-core SkipStep", [*steady(150), *([SPIKE] * 8)])
    assert 150 in found
    assert len(found) < 8


def test_apply_if_finite_lets_the_sixth_in_a_row_through() -> None:
    _, withheld = alarms("Optax apply_if_finite", [*steady(20), *([NAN] * 7)])
    assert withheld == [20, 21, 22, 23, 24]


def test_zclip_alarms_and_applies_all_the_same() -> None:
    found, withheld = alarms("ZClip as an alarm", [*steady(150), SPIKE])
    assert 150 in found
    assert withheld == []
