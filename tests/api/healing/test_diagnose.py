"""Verdicts from replays."""

import math

import pytest

from aft_api.healing.detect import judge
from aft_api.healing.diagnose import Conclusion, combine, conclude, look_back
from aft_contracts import AnomalyKind, Replay, StepRecord, Verdict, Withheld

PAST = 60


def replay(name: str, *steps: StepRecord, masked: tuple[str, ...] = ()) -> Replay:
    return Replay(name=name, masked_sample_ids=masked, steps=steps)


@pytest.fixture
def past(lab) -> list[StepRecord]:
    return [lab.step(step, loss=3.5 + 0.02 * (step % 7), grad_norm=1 + 0.02 * (step % 5)) for step in range(PAST)]


def verdict_of(lab, spec, past, as_it_was, without, *, suspects=("x@60",), anomalous=(60,)) -> Conclusion:
    """Conclude on replays given as losses by step; suspects as `id@step`."""
    named = [lab.suspect(one.split("@")[0], int(one.split("@")[1])) for one in suspects]
    masked = tuple(suspect.sample_id for suspect in named)
    replays = []
    if as_it_was is not None:
        replays.append(replay("as_it_was", *(lab.step(step, loss=loss) for step, loss in as_it_was.items())))
    if without is not None:
        steps = (lab.step(step, loss=loss) for step, loss in without.items())
        replays.append(replay("without_suspects", *steps, masked=masked))
    return conclude([lab.anomaly(step) for step in anomalous], named, replays, past, spec)


BAD, OK = 9.0, 3.5


@pytest.mark.parametrize(
    ("as_it_was", "without", "suspects", "anomalous", "verdict", "culprits"),
    [
        pytest.param({60: OK}, None, (), (60,), "transient", (), id="clean-on-replay"),
        pytest.param({60: OK}, {60: OK}, ("x@60",), (60,), "transient", (), id="clean-on-both"),
        pytest.param({60: BAD}, {60: OK}, ("x@60",), (60,), "data", ("x",), id="clean-without"),
        pytest.param({60: BAD}, {60: OK}, ("x@60", "y@60"), (60,), "data", ("x", "y"), id="two-culprits"),
        pytest.param({60: BAD}, {60: BAD}, ("x@60",), (60,), "optimisation", (), id="bad-without"),
        pytest.param({60: BAD}, None, (), (60,), "optimisation", (), id="nobody-to-suspect"),
        pytest.param({60: OK}, {60: BAD}, ("x@60",), (60,), "unknown", (), id="contradiction"),
        pytest.param(None, None, (), (60,), "unknown", (), id="no-replay"),
        pytest.param(None, {60: OK}, ("x@60",), (60,), "unknown", (), id="no-control"),
        pytest.param({61: OK}, {61: OK}, ("x@60",), (60,), "unknown", (), id="another-step-was-replayed"),
        pytest.param(
            {60: BAD, 61: BAD}, {60: OK, 61: BAD}, ("x@60", "y@61"), (60, 61), "data", ("x",), id="only-one-is-cleared"
        ),
        pytest.param(
            {60: BAD, 61: BAD}, {60: BAD, 61: OK}, ("x@60",), (60, 61), "optimisation", (), id="cleared-but-unsuspected"
        ),
        pytest.param(
            {60: OK, 61: BAD}, {60: OK, 61: OK}, ("x@60", "y@61"), (60, 61), "data", ("y",), id="only-one-comes-back"
        ),
        pytest.param({60: math.nan}, {60: OK}, ("x@60",), (60,), "data", ("x",), id="nan-without-the-row-gone"),
        pytest.param({60: math.nan}, {60: math.nan}, ("x@60",), (60,), "optimisation", (), id="nan-stays"),
    ],
)
def test_verdict(lab, spec, past, as_it_was, without, suspects, anomalous, verdict, culprits) -> None:
    found = verdict_of(lab, spec, past, as_it_was, without, suspects=suspects, anomalous=anomalous)
    assert (found.verdict, found.culprits) == (Verdict(verdict), culprits)
    assert found.reasons
    assert all(reason for reason in found.reasons)


def test_a_replay_that_the_guard_refuses_again_is_bad(lab, spec) -> None:
    refused = lab.step(60, withheld=Withheld.LOSS)
    found = conclude([lab.anomaly(60)], (), [replay("as_it_was", refused)], (), spec)
    assert found.verdict is Verdict.OPTIMISATION


def test_a_row_that_only_its_own_domain_calls_out_is_proven_by_the_same_detector(lab, spec) -> None:
    trainer = lab.trainer(1, rows=16)
    past = trainer.run(60)
    poison = lab.sample("poison", loss=10.5, tokens=12)
    step = trainer.step(60, instead=(poison,))
    anomalies = judge([step], past, spec)
    assert {anomaly.kind for anomaly in anomalies} == {AnomalyKind.SAMPLE_OUTLIER}
    masked = replay("without_suspects", step, masked=("poison",))
    suspects = [lab.suspect("poison", 60)]
    found = conclude(anomalies, suspects, [replay("as_it_was", step), masked], past, spec)
    assert (found.verdict, found.culprits) == (Verdict.DATA, ("poison",))


def test_a_batch_that_holds_nobody_but_suspects_is_cleared_and_says_so(lab, spec, past) -> None:
    bad = lab.step(60, loss=BAD, samples=(lab.sample("x"),))
    emptied = lab.step(60, loss=math.nan, tokens=0, samples=(lab.sample("x", tokens=0, loss=math.nan),))
    replays = [replay("as_it_was", bad), replay("without_suspects", emptied, masked=("x",))]
    found = conclude([lab.anomaly(60)], [lab.suspect("x", 60)], replays, past, spec)
    assert (found.verdict, found.culprits) == (Verdict.DATA, ("x",))
    assert "no other sample was left" in found.reasons[-1]


@pytest.mark.parametrize(("loss", "verdict"), [(3.9, Verdict.OPTIMISATION), (3.5, Verdict.TRANSIENT)])
def test_a_drift_is_bad_as_long_as_the_loss_stays_above_its_lagged_reference(lab, spec, loss, verdict) -> None:
    past = [lab.step(step, loss=3.5 + 0.02 * (step % 7)) for step in range(150)]
    anomalies = [lab.anomaly(150, AnomalyKind.DRIFT, applied=True)]
    found = conclude(anomalies, (), [replay("as_it_was", lab.step(150, loss=loss))], past, spec)
    assert found.verdict is verdict


@pytest.mark.parametrize(
    ("only_x", "only_y", "culprits"),
    [
        pytest.param(BAD, OK, ("x",), id="y-only-stood-beside-it"),
        pytest.param(BAD, BAD, ("x", "y"), id="each-does-it-alone"),
        pytest.param(OK, OK, ("x", "y"), id="only-together"),
    ],
)
def test_suspects_with_whom_alone_it_is_clean_are_not_blamed(lab, spec, past, only_x, only_y, culprits) -> None:
    replays = [
        replay("as_it_was", lab.step(60, loss=BAD)),
        replay("without_suspects", lab.step(60, loss=OK), masked=("x", "y")),
        replay("only:x", lab.step(60, loss=only_x), masked=("y",)),
        replay("only:y", lab.step(60, loss=only_y), masked=("x",)),
    ]
    suspects = [lab.suspect("x", 60), lab.suspect("y", 60)]
    found = conclude([lab.anomaly(60)], suspects, replays, past, spec)
    assert (found.verdict, found.culprits) == (Verdict.DATA, culprits)


def test_clusters_of_one_window_add_up_to_the_gravest_verdict() -> None:
    one = Conclusion(verdict=Verdict.DATA, culprits=("x",), reasons=("a",))
    two = Conclusion(verdict=Verdict.TRANSIENT, culprits=(), reasons=("b",))
    assert combine([one, two]) == Conclusion(verdict=Verdict.DATA, culprits=("x",), reasons=("a", "b"))


def test_a_row_that_stands_out_in_another_way_once_the_culprit_is_gone_is_not_blamed(lab, spec, past) -> None:
    replays = [
        replay("as_it_was", lab.step(60, loss=math.nan, withheld=Withheld.NON_FINITE)),
        replay("without_suspects", lab.step(60, loss=OK), masked=("x", "y")),
        replay("only:x", lab.step(60, loss=math.nan, withheld=Withheld.NON_FINITE), masked=("y",)),
        replay("only:y", lab.step(60, loss=OK, grad_norm=9.0, withheld=Withheld.GRAD_NORM), masked=("x",)),
    ]
    suspects = [lab.suspect("x", 60), lab.suspect("y", 60)]
    found = conclude([lab.anomaly(60, AnomalyKind.NON_FINITE)], suspects, replays, past, spec)
    assert (found.verdict, found.culprits) == (Verdict.DATA, ("x",))


@pytest.mark.parametrize(
    ("as_it_was", "without", "sound_step"),
    [
        pytest.param(OK, OK, 50, id="transient"),
        pytest.param(BAD, OK, 50, id="data"),
        pytest.param(BAD, BAD, None, id="optimisation"),
    ],
)
def test_a_clean_replay_proves_the_checkpoint_that_it_began_from(
    lab, spec, past, as_it_was, without, sound_step
) -> None:
    replays = [
        replay("as_it_was", lab.step(60, loss=as_it_was)),
        replay("without_suspects", lab.step(60, loss=without), masked=("x",)),
    ]
    found = conclude([lab.anomaly(60)], [lab.suspect("x", 60)], replays, past, spec, base=50)
    assert found.sound_step == sound_step


@pytest.mark.parametrize(
    ("older", "verdict", "sound_step"),
    [
        pytest.param(OK, Verdict.STATE, 40, id="clean-from-an-older-checkpoint"),
        pytest.param(BAD, Verdict.OPTIMISATION, None, id="bad-from-both"),
    ],
)
def test_a_look_back_tells_a_damaged_state_from_a_bad_course(lab, spec, past, older, verdict, sound_step) -> None:
    first = conclude([lab.anomaly(60)], (), [replay("as_it_was", lab.step(60, loss=BAD))], past, spec, base=50)
    again = replay("from_checkpoint:40", lab.step(60, loss=older))
    found = look_back(first, [lab.anomaly(60)], again, past, spec, base=40)
    assert (found.verdict, found.sound_step) == (verdict, sound_step)
    assert "step 40" in found.reasons[-1]


def test_clusters_go_back_to_the_oldest_sound_checkpoint() -> None:
    one = Conclusion(verdict=Verdict.STATE, culprits=(), reasons=("a",), sound_step=30)
    two = Conclusion(verdict=Verdict.TRANSIENT, culprits=(), reasons=("b",), sound_step=40)
    nothing_proven = Conclusion(verdict=Verdict.OPTIMISATION, culprits=(), reasons=("c",))
    assert combine([one, two]).sound_step == 30
    assert combine([one, nothing_proven]).sound_step is None
