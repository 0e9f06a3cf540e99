"""Verdicts from replays."""

import math
from dataclasses import replace

import numpy as np
import pytest

from aft_api.healing.detect import judge
from aft_api.healing.diagnose import Conclusion, charges, combine, look_back, unreplayed, unseen
from aft_api.healing.diagnose import conclude as concluded
from aft_api.healing.harm import Charge, Harm
from aft_api.healing.incident import Incident
from aft_api.healing.rate_jump import RatePlan
from aft_api.healing.reference import SampleReference
from aft_contracts import AnomalyKind, OptimSpec, Replay, Schedule, StepRecord, Verdict, Withheld

PAST = 60


def replay(name: str, *steps: StepRecord, masked: tuple[str, ...] = ()) -> Replay:
    return Replay(name=name, masked_sample_ids=masked, steps=steps)


def incident(anomalies, suspects, history, spec, *, armed_from: int = 0) -> Incident:
    return Incident(
        anomalies=tuple(anomalies), suspects=tuple(suspects), history=history, spec=spec, armed_from=armed_from
    )


def harm_of(sample_id: str, step: int = 60, *, is_proven: bool = True) -> Harm:
    charge = Charge(step=step, sample_ids=(sample_id,))
    return Harm(charge=charge, gain_nats=0.3, placebo_nats=0.0, z=9.0, rows=64, is_proven=is_proven)


def conclude(anomalies, suspects, replays, history, spec, **facts) -> Conclusion:
    """The conclusion where whoever is charged is then proven to do harm."""
    here = incident(anomalies, suspects, history, spec)
    harms = [harm_of(one, charge.step) for charge in charges(here, replays) for one in charge.sample_ids]
    return concluded(here, replays, harms=harms, **facts)


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


def test_a_row_that_stands_out_beside_the_rest_of_its_window_is_judged_so_when_replayed(lab, spec) -> None:
    trainer = lab.trainer(3)
    window = trainer.run(PAST + 10)
    history, heights = window[:PAST], []
    for loss in np.arange(5.0, 11.0, 0.01):  # a row whose loss is just too high once the steps behind it are known
        steps = list(window)
        steps[PAST + 2] = trainer.step(PAST + 2, instead=(lab.sample("x", loss=float(loss), tokens=32),))
        seen = [judge(steps[PAST:end], history, spec) for end in (PAST + 10, PAST + 3)]
        outliers = [[one for one in found if one.step == PAST + 2] for found in seen]
        if outliers[0] and not outliers[1]:
            heights.append(loss)
            again = replay("as_it_was", *steps[PAST : PAST + 3])
            here = incident(outliers[0], (), steps, spec)
            assert here.faults(again, here.replayed(again)) == {PAST + 2: {AnomalyKind.SAMPLE_OUTLIER}}
            assert concluded(here, (again,)).verdict is Verdict.OPTIMISATION, "not transient: nothing has changed"
    assert heights, "there are such rows"


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
            {60: BAD, 61: BAD},
            {60: OK, 61: BAD},
            ("x@60", "y@61"),
            (60, 61),
            "optimisation",
            ("x",),
            id="one-is-cleared-and-the-other-not",
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


@pytest.fixture
def outlier(lab, spec) -> tuple[Incident, list[Replay]]:
    """A row that only its own domain calls out: it stands out however often it is replayed, and not when it is gone."""
    trainer = lab.trainer(1, rows=16)
    past = trainer.run(60)
    step = trainer.step(60, instead=(lab.sample("odd", loss=13.0, tokens=12),))
    anomalies = judge([step], past, spec)
    assert {anomaly.kind for anomaly in anomalies} == {AnomalyKind.SAMPLE_OUTLIER}
    replays = [replay("as_it_was", step), replay("without_suspects", step, masked=("odd",))]
    return incident(anomalies, [lab.suspect("odd", 60)], past, spec), replays


def test_that_a_row_no_longer_stands_out_once_it_is_left_out_proves_no_harm(outlier) -> None:
    here, replays = outlier
    assert charges(here, replays) == (Charge(step=60, sample_ids=("odd",)),)
    for harms in ((), (harm_of("odd", is_proven=False),)):
        found = concluded(here, replays, harms=harms, base=50)
        assert (found.verdict, found.culprits, found.unproven) == (Verdict.DATA, (), ("odd",))
        assert found.needs_nothing
        assert found.sound_step == 50


def test_a_row_without_which_later_rows_are_better_off_is_a_culprit(outlier) -> None:
    here, replays = outlier
    found = concluded(here, replays, harms=[harm_of("odd")])
    assert (found.verdict, found.culprits, found.unproven) == (Verdict.DATA, ("odd",), ())


def test_a_loss_spike_that_is_gone_without_a_row_does_not_convict_it_either(lab, spec, past) -> None:
    replays = [
        replay("as_it_was", lab.step(60, loss=BAD)),
        replay("without_suspects", lab.step(60, loss=OK), masked=("x", "y")),
        replay("only:x", lab.step(60, loss=BAD), masked=("y",)),
        replay("only:y", lab.step(60, loss=BAD), masked=("x",)),
    ]
    here = incident([lab.anomaly(60)], [lab.suspect("x", 60), lab.suspect("y", 60)], past, spec)
    found = concluded(here, replays, harms=[harm_of("x"), harm_of("y", is_proven=False)])
    assert (found.verdict, found.culprits, found.unproven) == (Verdict.DATA, ("x",), ("y",))


def test_a_row_that_leaves_no_finite_loss_needs_no_other_proof(lab, spec, past) -> None:
    replays = [
        replay("as_it_was", lab.step(60, loss=math.nan, withheld=Withheld.NON_FINITE)),
        replay("without_suspects", lab.step(60, loss=OK), masked=("x",)),
    ]
    here = incident([lab.anomaly(60, AnomalyKind.NON_FINITE)], [lab.suspect("x", 60)], past, spec)
    assert charges(here, replays) == ()
    found = concluded(here, replays)
    assert (found.verdict, found.culprits) == (Verdict.DATA, ("x",))


def test_a_row_that_only_stands_out_beside_one_that_leaves_no_finite_loss_is_not_convicted_with_it(lab, spec) -> None:
    trainer = lab.trainer(1, rows=16)
    past = trainer.run(60)
    nan, odd = lab.sample("nan", loss=math.nan, grad_norm=math.nan), lab.sample("odd", loss=13.0, tokens=12)
    broken = trainer.step(60, instead=(nan, odd)).model_copy(update={"withheld": Withheld.NON_FINITE, "applied": False})
    clean = trainer.step(60, instead=(odd,))
    replays = [
        replay("as_it_was", broken),
        replay("without_suspects", clean, masked=("nan", "odd")),
        replay("only:nan", broken, masked=("odd",)),
        replay("only:odd", clean, masked=("nan",)),
    ]
    anomalies = [lab.anomaly(60, AnomalyKind.NON_FINITE), lab.anomaly(60, AnomalyKind.SAMPLE_OUTLIER)]
    found = concluded(incident(anomalies, [lab.suspect("nan", 60), lab.suspect("odd", 60)], past, spec), replays)
    assert (found.verdict, found.culprits, found.unproven) == (Verdict.DATA, ("nan",), ())


def test_a_row_that_was_found_in_bad_company_is_judged_so_without_it(lab, spec) -> None:
    past = lab.even_past()
    spread = SampleReference(past, spec)
    heights = {"bad": (80, spec.outlier_z + 0.1), "weak": (82, spec.witnessed_z + 0.1)}
    rows = {one: lab.sample(one, loss=lab.loss_at(spread, z, step=step)) for one, (step, z) in heights.items()}
    bad, weak = (lab.of_rows(heights[one][0], (row, lab.sample("fine"))) for one, row in rows.items())
    found = judge([bad, weak], past, spec)
    assert {one.step: one.sample_ids for one in found} == {80: ("bad",), 82: ("weak",)}
    here = incident([one for one in found if one.step == 82], [lab.suspect("weak", 82)], past, spec)
    alone = replay("as_it_was", weak)
    assert AnomalyKind.SAMPLE_OUTLIER in here.faults(alone, here.replayed(alone))[82]
    without = replay("without_suspects", lab.of_rows(82, (lab.sample("fine"),)), masked=("weak",))
    assert charges(here, [alone, without]) == (Charge(step=82, sample_ids=("weak",)),)


@pytest.mark.parametrize(
    ("jumped_at", "tried"),
    [
        pytest.param(62, (60,), id="the-one-before"),
        pytest.param(64, (60,), id="nor-at-the-step-itself"),
        pytest.param(60, (), id="none-from-the-first-on"),
        pytest.param(65, (60, 64), id="all-before"),
    ],
)
def test_a_row_is_not_tried_by_what_it_does_under_a_rate_that_jumped(lab, spec, past, jumped_at, tried) -> None:
    def steps(loss: float) -> list[StepRecord]:
        rate = {True: 100e-4, False: 1e-4}
        bad = {60: loss, 64: loss}
        return [lab.step(step, loss=bad.get(step, OK), lr=rate[step >= jumped_at]) for step in range(60, 66)]

    jumps = [lab.anomaly(step, AnomalyKind.RATE_JUMP) for step in range(jumped_at, 66)]
    suspects = [lab.suspect("x", 60), lab.suspect("y", 64)]
    plan = RatePlan(optim=OptimSpec(learning_rate=1e-4, warmup_steps=0), schedule=Schedule())
    here = replace(incident([lab.anomaly(60), lab.anomaly(64), *jumps], suspects, past, spec), plan=plan)
    replays = [replay("as_it_was", *steps(BAD)), replay("without_suspects", *steps(OK), masked=("x", "y"))]
    charged = charges(here, replays)
    assert [charge.step for charge in charged] == list(tried)
    found = concluded(here, replays, harms=[harm_of(one, at.step) for at in charged for one in at.sample_ids])
    assert found.verdict is Verdict.OPTIMISATION
    assert found.culprits == tuple({60: "x", 64: "y"}[step] for step in tried)
    assert found.unproven == (), "a row that was not tried is not known"


def test_a_replay_is_judged_by_the_detectors_as_they_were_armed(lab, spec, past) -> None:
    """The mix changed at step 60, and with it the level; a moment of NaN came at step 64."""
    history = [*past, *(lab.step(step, loss=5.0 + 0.02 * (step % 5)) for step in range(60, 64))]
    anomalies = [lab.anomaly(64, AnomalyKind.NON_FINITE)]
    replays = [replay("as_it_was", lab.step(64, loss=5.0))]
    assert concluded(incident(anomalies, (), history, spec, armed_from=60), replays).verdict is Verdict.TRANSIENT
    assert concluded(incident(anomalies, (), history, spec), replays).verdict is Verdict.OPTIMISATION


def test_a_drift_is_judged_by_the_detectors_as_they_were_armed(lab, spec) -> None:
    history = [lab.step(step, loss=3.5 + 0.02 * (step % 7)) for step in range(150)]
    anomalies = [lab.anomaly(150, AnomalyKind.DRIFT, applied=True)]
    replays = [replay("as_it_was", lab.step(150, loss=3.9))]
    assert concluded(incident(anomalies, (), history, spec), replays).verdict is Verdict.OPTIMISATION
    assert concluded(incident(anomalies, (), history, spec, armed_from=140), replays).verdict is Verdict.TRANSIENT


def test_a_batch_that_holds_nobody_but_suspects_is_cleared_and_says_so(lab, spec, past) -> None:
    bad = lab.step(60, loss=BAD, samples=(lab.sample("x"),))
    emptied = lab.step(60, loss=math.nan, tokens=0, samples=(lab.sample("x", tokens=0, loss=math.nan),))
    replays = [replay("as_it_was", bad), replay("without_suspects", emptied, masked=("x",))]
    found = conclude([lab.anomaly(60)], [lab.suspect("x", 60)], replays, past, spec)
    assert (found.verdict, found.culprits) == (Verdict.DATA, ("x",))
    assert any("no other sample was left" in reason for reason in found.reasons)


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
    here, replays = incident([lab.anomaly(60)], (), past, spec), [replay("as_it_was", lab.step(60, loss=BAD))]
    first = concluded(here, replays, base=50)
    found = look_back(first, here, replays, replay("from_checkpoint:40", lab.step(60, loss=older)), base=40)
    assert (found.verdict, found.sound_step) == (verdict, sound_step)
    assert "step 40" in found.reasons[-1]


@pytest.mark.parametrize(
    ("older", "verdict", "culprits"),
    [
        pytest.param(math.nan, Verdict.DATA, ("x",), id="no-number-either"),
        pytest.param(BAD, Verdict.STATE, (), id="far-out"),
        pytest.param(OK, Verdict.STATE, (), id="ordinary"),
    ],
)
def test_a_row_is_no_number_by_its_own_doing_only_where_an_older_checkpoint_says_so(
    lab, spec, past, older, verdict, culprits
) -> None:
    here = incident([lab.anomaly(60, AnomalyKind.NON_FINITE)], [lab.suspect("x", 60)], past, spec)
    replays = [
        replay("as_it_was", lab.step(60, loss=math.nan, withheld=Withheld.NON_FINITE)),
        replay("without_suspects", lab.step(60, loss=OK), masked=("x",)),
    ]
    first = concluded(here, replays, base=50)
    assert (first.verdict, first.culprits) == (Verdict.DATA, ("x",))
    found = look_back(first, here, replays, replay("from_checkpoint:40", lab.step(60, loss=older)), base=40)
    assert (found.verdict, found.culprits) == (verdict, culprits)
    blind = unseen(first, "the worker is gone.")
    assert (blind.verdict, blind.culprits, blind.unproven) == (Verdict.DATA, (), ("x",))
    assert blind.reasons[-1].endswith("not known: the worker is gone. So x might be innocent.")


def test_a_graver_fault_beside_it_does_not_clear_a_culprit() -> None:
    data = Conclusion(verdict=Verdict.DATA, culprits=("x",), reasons=("a",), sound_step=40)
    course = Conclusion(verdict=Verdict.OPTIMISATION, culprits=(), reasons=("b",))
    assert combine([data, course]) == Conclusion(
        verdict=Verdict.OPTIMISATION, culprits=("x",), reasons=("a", "b"), sound_step=None
    )


def test_rows_that_were_not_shown_to_do_harm_are_the_least_of_several_findings() -> None:
    harmless = Conclusion(verdict=Verdict.DATA, culprits=(), reasons=("a",), unproven=("odd",), sound_step=40)
    transient = Conclusion(verdict=Verdict.TRANSIENT, culprits=(), reasons=("b",), sound_step=50)
    unknown = Conclusion(verdict=Verdict.UNKNOWN, culprits=(), reasons=("c",))
    assert combine([harmless, harmless]).needs_nothing
    both = combine([harmless, transient])
    assert (both.verdict, both.unproven, both.sound_step) == (Verdict.TRANSIENT, ("odd",), 50)
    still_open = combine([harmless, unknown])
    assert (still_open.verdict, still_open.unproven, still_open.needs_nothing) == (Verdict.UNKNOWN, (), False)


@pytest.mark.parametrize(
    ("verdict", "kind", "applied", "told"),
    [
        pytest.param(Verdict.DATA, AnomalyKind.LOSS_SPIKE, True, Verdict.UNKNOWN, id="may-have-done-harm"),
        pytest.param(Verdict.DATA, AnomalyKind.LOSS_SPIKE, False, Verdict.DATA, id="withheld"),
        pytest.param(Verdict.DATA, AnomalyKind.SAMPLE_OUTLIER, True, Verdict.DATA, id="one-row"),
        pytest.param(Verdict.STATE, AnomalyKind.LOSS_SPIKE, True, Verdict.STATE, id="trained-again-anyway"),
    ],
)
def test_what_was_not_replayed_is_told_and_not_taken_for_harmless(lab, verdict, kind, applied, told) -> None:
    found = Conclusion(verdict=verdict, culprits=(), reasons=("a",), unproven=("x",))
    left = unreplayed(found, [lab.anomaly(66, kind, applied=applied), lab.anomaly(64, kind, applied=applied)])
    assert left.verdict is told
    assert left.unproven == (() if told is Verdict.UNKNOWN else ("x",))
    assert left.reasons == ("a", "Not replayed, for max_clusters allows no more: steps 64, 66.")
    assert unreplayed(found, []) is found


def test_clusters_go_back_to_the_oldest_sound_checkpoint() -> None:
    one = Conclusion(verdict=Verdict.STATE, culprits=(), reasons=("a",), sound_step=30)
    two = Conclusion(verdict=Verdict.TRANSIENT, culprits=(), reasons=("b",), sound_step=40)
    nothing_proven = Conclusion(verdict=Verdict.OPTIMISATION, culprits=(), reasons=("c",))
    assert combine([one, two]).sound_step == 30
    assert combine([one, nothing_proven]).sound_step is None


@pytest.mark.parametrize(
    ("jumped_at", "culprits"),
    [pytest.param(60, (), id="after-the-jump"), pytest.param(62, ("x",), id="at-the-jump-itself")],
)
def test_a_row_that_is_no_number_under_weights_of_a_jumped_rate_is_not_blamed(
    lab, spec, past, jumped_at, culprits
) -> None:
    def steps(loss: float) -> list[StepRecord]:
        rate = {True: 100e-4, False: 1e-4}
        return [lab.step(step, loss=loss if step == 62 else OK, lr=rate[step >= jumped_at]) for step in range(60, 64)]

    jumps = [lab.anomaly(step, AnomalyKind.RATE_JUMP) for step in range(jumped_at, 64)]
    plan = RatePlan(optim=OptimSpec(learning_rate=1e-4, warmup_steps=0), schedule=Schedule())
    anomalies = [lab.anomaly(62, AnomalyKind.NON_FINITE), *jumps]
    here = replace(incident(anomalies, [lab.suspect("x", 62)], past, spec), plan=plan)
    replays = [replay("as_it_was", *steps(math.nan)), replay("without_suspects", *steps(OK), masked=("x",))]
    found = concluded(here, replays)
    assert (found.verdict, found.culprits, found.unproven) == (Verdict.OPTIMISATION, culprits, ())
