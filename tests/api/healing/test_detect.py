"""The detectors together, on whole windows."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_api.healing.detect import judge
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord, Withheld

WINDOW, HISTORY = 10, 192


def watch(steps: Sequence[StepRecord], spec: DetectionSpec, *, armed_from: int = 0) -> list[Anomaly]:
    """What a supervisor sees that judges window after window."""
    found: list[Anomaly] = []
    for start in range(0, len(steps), WINDOW):
        history = steps[max(0, start - HISTORY) : start]
        found += judge(steps[start : start + WINDOW], history, spec, armed_from=armed_from)
    return found


def seen(found: Sequence[Anomaly]) -> set[tuple[AnomalyKind, int]]:
    return {(anomaly.kind, anomaly.step) for anomaly in found}


def test_clean_heavy_tailed_training_raises_at_most_one_false_alarm_in_a_thousand_steps(lab, spec) -> None:
    alarms = Counter[AnomalyKind]()
    for seed in range(4):
        steps = lab.trainer(seed).run(300, lambda step: 1.6 + 2.4 * math.exp(-step / 120))
        alarms.update(anomaly.kind for anomaly in watch(steps, spec))
    assert alarms.total() <= 1, alarms


def test_every_spike_of_a_cluster_is_found_and_nothing_after_it(lab, spec) -> None:
    steps = lab.trainer(1).run(160)
    spiky = set(range(100, 124, 4))
    steps = [
        step.model_copy(update={"loss": step.loss + 6.0, "grad_norm": step.grad_norm * 40})
        if step.step in spiky
        else step
        for step in steps
    ]
    found = [anomaly for anomaly in watch(steps, spec) if anomaly.kind is not AnomalyKind.SAMPLE_OUTLIER]
    wanted = {(kind, step) for step in spiky for kind in (AnomalyKind.LOSS_SPIKE, AnomalyKind.GRAD_SPIKE)}
    assert seen(found) == wanted


@pytest.mark.parametrize(
    "broken", [{"loss": math.nan}, {"grad_norm": math.inf}, {"loss": math.inf, "grad_norm": math.nan}]
)
def test_a_step_that_is_not_finite_is_found_and_poisons_nothing(lab, spec, broken: dict[str, float]) -> None:
    clean = lab.trainer(2).run(120)
    steps = [step.model_copy(update=broken) if step.step == 60 else step for step in clean]
    spiked = [step.model_copy(update={"loss": 30.0}) if step.step == 75 else step for step in steps]
    assert seen(watch(steps, spec)) == {(AnomalyKind.NON_FINITE, 60)}
    assert seen(watch(spiked, spec)) == {(AnomalyKind.NON_FINITE, 60), (AnomalyKind.LOSS_SPIKE, 75)}


def test_slow_drift_is_found_by_cusum_long_before_any_z(lab, spec) -> None:
    calm = lab.trainer(3, rows=16)
    steps = calm.run(260, lambda step: 3.5 + 0.012 * max(0, step - 150))
    found = watch(steps, spec)
    first = next(anomaly for anomaly in found if anomaly.kind is AnomalyKind.DRIFT)
    assert 150 < first.step <= 215
    assert not [anomaly for anomaly in found if anomaly.kind is AnomalyKind.LOSS_SPIKE and anomaly.step <= first.step]
    assert not [anomaly for anomaly in found if anomaly.step < 150]


@pytest.mark.parametrize(
    ("rising_from", "bad_steps", "is_drift"),
    [
        pytest.param(154, (150, 151, 152, 153), False, id="bad-rows-of-one-window"),
        pytest.param(154, (147, 148, 149, 150), False, id="and-of-the-one-before"),
        pytest.param(145, (153,), True, id="one-beside-a-drift"),
        pytest.param(145, (), True, id="a-drift-alone"),
    ],
)
def test_what_bad_rows_add_to_the_loss_is_no_drift(lab, spec, rising_from, bad_steps, is_drift) -> None:
    """A bad row lifts its batch by 0.4 nats, too little for a spike, and as much of a drift as one step can be."""

    def step(at: int) -> StepRecord:
        level = 3.58 if at >= rising_from else 3.5
        rows = [lab.sample(f"r{at}-{row}", loss=level + 0.02 * ((3 * at + row) % 8 - 3.5)) for row in range(8)]
        return lab.of_rows(at, (*rows[:7], lab.sample(f"bad{at}", loss=6.7) if at in bad_steps else rows[7]))

    found = watch([step(at) for at in range(156)], spec)
    assert {one.step for one in found if one.kind is AnomalyKind.SAMPLE_OUTLIER} == {*bad_steps}
    assert [one.kind for one in found if one.kind is not AnomalyKind.SAMPLE_OUTLIER] == [AnomalyKind.DRIFT] * is_drift


def test_a_lasting_level_shift_is_accepted_after_max_rejections(lab, spec) -> None:
    steps = [lab.step(step, loss=3.5 + 0.01 * (step % 5) + (2.0 if step >= 100 else 0.0)) for step in range(160)]
    spikes = [anomaly.step for anomaly in watch(steps, spec) if anomaly.kind is AnomalyKind.LOSS_SPIKE]
    assert spikes == list(range(100, 100 + spec.max_rejections))


def test_a_spike_does_not_hide_the_next_one(lab, spec) -> None:
    steps = [lab.step(step, loss=50.0 if step in (40, 41, 43) else 3.5 + 0.01 * (step % 7)) for step in range(50)]
    assert {anomaly.step for anomaly in watch(steps, spec)} == {40, 41, 43}


@pytest.mark.parametrize(("armed_from", "is_found"), [(0, True), (34, True), (35, False), (45, False)])
def test_it_is_armed_by_min_steps_clean_steps_since_the_last_intervention(lab, spec, armed_from: int, is_found) -> None:
    steps = [lab.step(step, loss=9.0 if step == 50 else 3.5 + 0.01 * (step % 7)) for step in range(52)]
    assert bool(judge(steps[50:], steps[:50], spec, armed_from=armed_from)) is is_found


def test_refusals_before_the_last_intervention_arm_nothing_after_it(lab, spec) -> None:
    refused = [lab.step(step, loss=9.0, withheld=Withheld.LOSS) for step in range(30, 38)]
    since = [lab.step(step, loss=3.5 + 0.01 * (step % 7)) for step in range(38, 53)]
    steps = [*refused, *since, lab.step(53, loss=30.0)]
    assert judge(steps[-1:], steps[:-1], spec, armed_from=38) == (), "15 clean steps since"
    assert [one.step for one in judge([lab.step(54, loss=30.0)], [*steps[:-1], lab.step(53)], spec, armed_from=38)] == [
        54
    ]


@pytest.mark.parametrize(
    ("withheld", "kind"),
    [
        (Withheld.NON_FINITE, AnomalyKind.NON_FINITE),
        (Withheld.LOSS, AnomalyKind.LOSS_SPIKE),
        (Withheld.GRAD_NORM, AnomalyKind.GRAD_SPIKE),
    ],
)
def test_a_refusal_of_the_guard_is_an_anomaly_even_without_history(lab, spec, withheld, kind) -> None:
    (found,) = judge([lab.step(3, withheld=withheld)], [], spec)
    assert (found.kind, found.step, found.applied, found.score) == (kind, 3, False, math.inf)


def test_a_refusal_is_scored_where_there_is_history(lab, spec) -> None:
    history = [lab.step(step, loss=3.5 + 0.1 * (step % 5)) for step in range(40)]
    (found,) = judge([lab.step(40, loss=4.0, withheld=Withheld.LOSS)], history, spec)
    assert 0 < found.score < spec.loss_z


def test_a_step_skipped_by_a_human_is_no_anomaly_and_no_statistic(lab, spec) -> None:
    history = [lab.step(step, loss=3.5 + 0.01 * (step % 7)) for step in range(40)]
    row = lab.sample("s", loss=math.nan)
    assert judge([lab.step(40, loss=math.nan, samples=(row,), withheld=Withheld.SKIPPED)], history, spec) == ()
    skipped = [step.model_copy(update={"applied": False, "withheld": Withheld.SKIPPED}) for step in history]
    assert judge([lab.step(40, loss=90.0)], skipped, spec) == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0])), min_size=1, max_size=40))
def test_no_sequence_of_losses_breaks_it_or_gives_a_score_that_is_nan(losses: list[float]) -> None:
    steps = [
        StepRecord(step=number, loss=loss, grad_norm=abs(loss), lr=1e-4, clip_norm=1, tokens=8, applied=True, seconds=0)
        for number, loss in enumerate(losses)
    ]
    found = judge(steps, (), DetectionSpec(min_steps=4, cusum_lag=8))
    assert not [anomaly for anomaly in found if math.isnan(anomaly.score)]
    bad = {step.step for step in steps if not math.isfinite(step.loss)}
    assert {anomaly.step for anomaly in found if anomaly.kind is AnomalyKind.NON_FINITE} == bad
