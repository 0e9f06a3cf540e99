"""Figures of outcomes that are known."""

from pathlib import Path

import pytest

from benchmarks.faults.figures import (
    attribution_precision,
    attribution_recall,
    false_alarms,
    healed,
    recall,
    verdict_accuracy,
    windows_lost,
)
from benchmarks.faults.outcome import Finding, Outcome, Outcomes


def outcome(**changes: object) -> Outcome:
    facts = {
        "system": "aft", "case": "garbage_tokens", "seed": 0, "version": "v", "steps": 240, "first_step": 100,
        "verdict": "data", "culprits": ("x",), "alarms": (100,), "loss": 3.5,
        "findings": (Finding(verdict="data", first_step=100, culprits=("x",)),),
    }  # fmt: skip
    return Outcome(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("alarms", "share"), [((100,), 1.0), ((131,), 1.0), ((132,), 0.0), ((99,), 0.0), ((), 0.0), ((20, 110), 1.0)]
)
def test_an_alarm_counts_within_32_steps_of_the_first_harmful_one(alarms: tuple[int, ...], share: float) -> None:
    assert recall([outcome(alarms=alarms)]) == share


def test_attribution_is_counted_by_row() -> None:
    both = Finding(verdict="data", first_step=100, culprits=("x", "y"))
    runs = [outcome(findings=(both,)), outcome(culprits=("x", "z"))]
    assert attribution_precision(runs) == pytest.approx(2 / 3)
    assert attribution_recall(runs) == pytest.approx(2 / 3)
    assert attribution_precision([outcome(findings=())]) is None


def test_the_first_diagnosis_after_the_fault_is_the_one_that_counts() -> None:
    before = Finding(verdict="optimisation", first_step=20)
    wrong_first = (Finding(verdict="unknown", first_step=100), Finding(verdict="data", first_step=101))
    assert verdict_accuracy([outcome(), outcome(findings=(before, *outcome().findings))]) == 1.0
    assert verdict_accuracy([outcome(findings=wrong_first), outcome(findings=())]) == 0.0


def test_a_run_is_healed_when_it_ends_within_a_hundredth_of_the_undisturbed_one() -> None:
    value = healed({0: 3.5})
    assert value([outcome(loss=3.535), outcome(loss=3.536), outcome(loss=None), outcome(loss=3.2)]) == 0.5


def test_false_alarms_and_lost_windows() -> None:
    assert false_alarms([outcome(alarms=(3, 4), steps=5000), outcome(alarms=(), steps=5000)]) == 2.0
    assert windows_lost([outcome(lost_steps=(10,)), outcome(lost_steps=(20, 10))]) == 1.0
    assert windows_lost([outcome()]) is None


def test_outcomes_are_found_again_for_the_same_code_alone(tmp_path: Path) -> None:
    kept = outcome(lost_steps=(10,), repairs=("blacklist",))
    Outcomes(tmp_path / "o.jsonl").add(kept)
    again = Outcomes(tmp_path / "o.jsonl")
    assert again.find("aft", "garbage_tokens", 0, "v") == kept
    assert again.find("aft", "garbage_tokens", 0, "w") is None
