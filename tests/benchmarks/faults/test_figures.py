"""Figures of outcomes that are known."""

from dataclasses import replace

import pytest

from benchmarks.faults.figures import (
    attribution_precision,
    attribution_precision_macro,
    attribution_recall,
    attribution_recall_macro,
    early_alarms,
    ended,
    false_alarms,
    fault_measures,
    first_verdict_accuracy,
    healed,
    human_questions,
    innocent_bans,
    latency,
    latency_median,
    overall_measures,
    recall,
    recall_min,
    verdict_accuracy,
    windows_lost,
    windows_lost_rolled_back,
)
from benchmarks.faults.outcome import Alarm, Finding, Incident
from tests.benchmarks.faults.outcomes import outcome


def alarms(*steps_and_after: tuple[int, int]) -> tuple[Alarm, ...]:
    return tuple(Alarm(step=step, after=after) for step, after in steps_and_after)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (((100, 101),), 0),  # at once, as the others do
        (((100, 110),), 9),  # after the window that it is in
        (((100, 132),), 31),
        (((100, 133),), 32),
        (((99, 110),), None),  # about a step that was fine
        (((20, 30), (110, 120)), 19),
        ((), None),
    ],
)
def test_an_alarm_counts_from_when_it_was_raised(raised: tuple[tuple[int, int], ...], expected: int | None) -> None:
    run = outcome(alarms=alarms(*raised))
    assert latency(run) == expected
    assert recall([run]) == (expected is not None and expected < 32)


def test_a_ban_of_a_row_that_is_no_fault_is_counted_whoever_was_named() -> None:
    rightly = Finding(verdict="data", first_step=100, last_step=100, culprits=("x", "z"), banned=("x",))
    wrongly = Finding(verdict="data", first_step=110, last_step=110, culprits=("z",), banned=("z",))
    assert innocent_bans([outcome(findings=(rightly,), culprits=("x",))]) == 0
    assert innocent_bans([outcome(findings=(rightly, wrongly), culprits=("x",)), outcome(findings=())]) == 1


def test_steps_trained_again_count_as_time() -> None:
    after_a_rollback = outcome(alarms=alarms((103, 140)), harmed_after=120)
    assert latency(after_a_rollback) == 19
    before_the_harm = outcome(alarms=alarms((100, 110)), harmed_after=120)
    assert latency(before_the_harm) is None
    assert latency(outcome(harmed_after=None)) is None


def test_a_damaged_state_that_its_scores_gave_away_was_found_before_it_did_harm() -> None:
    drop = (Alarm(step=100, after=100, kind="evaluation_drop"),)
    state = Finding(verdict="state", first_step=100, last_step=100)
    seen = outcome(verdict="state", alarms=drop, findings=(state,), harmed_after=110)
    assert latency(seen) == 0
    assert recall([seen]) == 1
    for otherwise in (
        {"alarms": alarms((100, 100))},  # of another kind
        {"alarms": (replace(drop[0], step=90),)},  # about scores from before the damage
        {"findings": (replace(state, verdict="unknown"),)},
        {"findings": ()},
        {"verdict": "data"},  # the fault is none of the state, so its scores could not have shown it
    ):
        assert latency(replace(seen, **otherwise)) is None


def test_latency_is_a_median_over_the_runs_that_were_found() -> None:
    runs = [outcome(alarms=alarms((100, after))) for after in (101, 104, 110)]
    assert latency_median([*runs, outcome(alarms=())]) == 3
    assert latency_median([outcome(alarms=())]) is None


def test_the_fault_that_is_found_most_seldom_is_told() -> None:
    found, missed = outcome(case="one"), outcome(case="other", alarms=())
    assert recall_min([found, found, missed, outcome(case="other")]) == 0.5


def test_attribution_is_counted_by_row_and_averaged_by_fault() -> None:
    many = tuple(str(number) for number in range(8))
    cluster = outcome(case="cluster", culprits=many, findings=(finding(culprits=many),))
    missed = outcome(findings=(finding(culprits=("x", "y")),), culprits=("x", "z"))
    assert attribution_precision([cluster, missed]) == pytest.approx(9 / 10)
    assert attribution_recall([cluster, missed]) == pytest.approx(9 / 10)
    assert attribution_precision_macro([cluster, missed]) == pytest.approx(3 / 4)
    assert attribution_recall_macro([cluster, missed]) == pytest.approx(3 / 4)
    assert attribution_precision([outcome(findings=())]) is None


def test_a_row_blamed_for_what_no_row_did_is_blamed_wrongly() -> None:
    state = outcome(case="bit", verdict="state", culprits=(), findings=(finding(culprits=("x",)),))
    assert attribution_precision([outcome(), state]) == 0.5


def test_a_wrong_diagnosis_counts_whether_it_comes_first_or_later() -> None:
    early = finding(verdict="optimisation", steps=(20, 21))
    astride = finding(verdict="transient", steps=(99, 100))
    right, wrong = finding(), finding(verdict="unknown", steps=(101, 101))
    cases = {
        (early, right): (1.0, 1.0),
        (right, right): (1.0, 1.0),
        (right, wrong): (0.0, 1.0),
        (wrong, right): (0.0, 0.0),
        (astride,): (0.0, 0.0),
        (): (0.0, 0.0),
    }
    for findings, (every, first) in cases.items():
        run = [outcome(findings=findings)]
        assert (verdict_accuracy(run), first_verdict_accuracy(run)) == (every, first)


def test_a_run_is_healed_when_it_ends_within_a_hundredth_of_the_undisturbed_one() -> None:
    value = healed({0: 3.5})
    runs = [outcome(loss=3.535), outcome(loss=3.536), outcome(loss=None, status="stopped"), outcome(loss=3.2)]
    assert value(runs) == 0.5
    assert ended(runs) == 0.25


def test_false_alarms_are_counted_as_often_as_they_were_raised_on_armed_steps() -> None:
    quiet = {"case": "clean", "first_step": None, "harmed_after": None, "verdict": None, "culprits": ()}
    again = outcome(**quiet, alarms=alarms((130, 140), (130, 150)), armed_steps=5000)
    assert false_alarms([again, outcome(**quiet, alarms=(), armed_steps=5000)]) == 2.0
    assert false_alarms([outcome(**quiet, armed_steps=0)]) is None


def test_alarms_before_the_fault_are_a_figure_of_their_own() -> None:
    runs = [outcome(alarms=alarms((70, 80), (100, 110)), armed_before=36), outcome(armed_before=64)]
    assert early_alarms(runs) == 100.0


def test_windows_lost_are_counted_by_repaired_incident() -> None:
    plain, again = incident("replay", lost=10), incident("roll_back", "calm_down", lost=30)
    asked, free = incident("escalate", lost=50), incident("continue", lost=0)
    assert windows_lost([outcome(incidents=(plain, asked)), outcome(incidents=(again,))]) == 2.0
    assert windows_lost([outcome(incidents=(plain, free))]) == 0.5
    assert windows_lost_rolled_back([outcome(incidents=(plain, free))]) == 1.0
    assert windows_lost([outcome(incidents=(asked,))]) is None


def test_questions_are_counted_by_run() -> None:
    assert human_questions([outcome(questions=1), outcome()]) == 0.5


def test_no_interval_is_a_point_where_nothing_was_missed() -> None:
    runs = [outcome(seed=seed) for seed in range(20)]
    losses = dict.fromkeys(range(20), 3.5)
    for measured in (*fault_measures(losses), *overall_measures(losses)):
        if measured.exact is not None and measured.value(runs) is not None:
            low, high = measured.interval(runs) or (0.0, 0.0)
            assert low < high, measured.figure.name


def finding(
    *, verdict: str = "data", steps: tuple[int, int] = (100, 100), culprits: tuple[str, ...] = ("x",)
) -> Finding:
    return Finding(verdict=verdict, first_step=steps[0], last_step=steps[1], culprits=culprits)


def incident(*repairs: str, lost: int) -> Incident:
    return Incident(repairs=repairs, lost_steps=lost)
