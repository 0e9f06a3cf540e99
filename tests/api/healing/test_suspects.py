"""Suspects from step records."""

import math

import pytest

from aft_api.healing.suspects import find_suspects, without_known
from aft_contracts import AnomalyKind


def ids(suspects) -> list[str]:
    return [suspect.sample_id for suspect in suspects]


def test_the_bad_row_of_a_spiking_batch_is_the_only_suspect(lab, spec) -> None:
    trainer = lab.trainer(1)
    history = trainer.run(60)
    bad = trainer.step(60, instead=(lab.sample("poison", loss=11.0, grad_norm=30.0),))
    (suspect,) = find_suspects([lab.anomaly(60)], [bad, trainer.step(61)], history, spec)
    assert (suspect.sample_id, suspect.step, suspect.domain) == ("poison", 60, "chat")
    assert suspect.score >= spec.sample_z


def test_a_gradient_alone_makes_a_suspect(lab, spec) -> None:
    trainer = lab.trainer(2)
    bad = trainer.step(60, instead=(lab.sample("steep", loss=3.5, grad_norm=500.0),))
    found = find_suspects([lab.anomaly(60, AnomalyKind.GRAD_SPIKE)], [bad], trainer.run(60), spec)
    assert ids(found) == ["steep"]


def test_rows_that_are_not_finite_come_first(lab, spec) -> None:
    trainer = lab.trainer(3)
    rows = (lab.sample("high", loss=14.0), lab.sample("nan", loss=math.nan), lab.sample("inf", grad_norm=math.inf))
    found = find_suspects(
        [lab.anomaly(60, AnomalyKind.NON_FINITE)], [trainer.step(60, instead=rows)], trainer.run(60), spec
    )
    assert ids(found) == ["inf", "nan", "high"]


def test_nobody_is_suspected_when_every_row_is_far_out(lab, spec) -> None:
    trainer = lab.trainer(4)
    anomalies = [lab.anomaly(60)]
    assert find_suspects(anomalies, [trainer.step(60, 12.0)], trainer.run(60), spec) == ()
    broken = lab.step(60, samples=tuple(lab.sample(str(row), loss=math.nan) for row in range(4)))
    assert find_suspects(anomalies, [broken], trainer.run(60), spec) == ()


def test_several_bad_rows_are_all_suspected_as_long_as_one_row_is_ordinary(lab, spec) -> None:
    trainer = lab.trainer(5)
    rows = tuple(lab.sample(f"bad{row}", loss=11.0 + row) for row in range(3))
    found = find_suspects([lab.anomaly(60)], [trainer.step(60, instead=rows)], trainer.run(60), spec)
    assert ids(found) == ["bad2", "bad1", "bad0"]


def test_only_rows_of_anomalous_steps_are_suspected(lab, spec) -> None:
    trainer = lab.trainer(6)
    bad = trainer.step(61, instead=(lab.sample("elsewhere", loss=11.0),))
    assert find_suspects([lab.anomaly(60)], [trainer.step(60), bad], trainer.run(60), spec) == ()


def test_the_clear_top_of_an_anomalous_batch_is_suspected_below_the_threshold(lab, spec) -> None:
    rng = lab.trainer(7).rng
    drawn = rng.normal(3.5, 0.5, (60, 4)).tolist()
    history = [
        lab.step(
            step,
            samples=tuple(lab.sample(f"{step}-{row}", loss=loss, grad_norm=0.0) for row, loss in enumerate(losses)),
        )
        for step, losses in enumerate(drawn)
    ]
    calm = tuple(lab.sample(f"calm{row}", loss=3.5, grad_norm=0.0) for row in range(3))
    top = lab.step(60, samples=(*calm, lab.sample("top", loss=3.5 + 4.5 * 0.5, grad_norm=0.0)))
    tied = lab.step(
        60, samples=(*calm, *(lab.sample(f"tied{row}", loss=3.5 + 4.5 * 0.5, grad_norm=0.0) for row in range(2)))
    )
    assert ids(find_suspects([lab.anomaly(60)], [top], history, spec)) == ["top"]
    assert ids(find_suspects([lab.anomaly(60)], [tied], history, spec)) == []


def test_a_batch_of_one_is_suspected_by_its_own_score(lab, spec) -> None:
    trainer = lab.trainer(8, rows=1, domains=("chat",))
    bad = lab.of_rows(80, (lab.sample("poison", loss=12.0),))
    assert ids(find_suspects([lab.anomaly(80)], [bad], trainer.run(80), spec)) == ["poison"]


@pytest.mark.parametrize(
    ("known", "left"),
    [
        pytest.param((), ["loss_spike", "sample_outlier", "non_finite"], id="nobody-is-known"),
        pytest.param(("odd",), ["non_finite"], id="the-only-one-that-stands-out"),
        pytest.param(("other",), ["loss_spike", "sample_outlier", "non_finite"], id="somebody-else"),
    ],
)
def test_a_row_that_was_looked_into_raises_no_second_alarm(lab, spec, known, left) -> None:
    trainer = lab.trainer(9)
    history = trainer.run(60)
    window = [trainer.step(60, instead=(lab.sample("odd", loss=11.0),)), trainer.step(61)]
    anomalies = [
        lab.anomaly(60),
        lab.anomaly(60, AnomalyKind.SAMPLE_OUTLIER, sample_ids=("odd",)),
        lab.anomaly(61, AnomalyKind.NON_FINITE),
    ]
    assert [one.kind for one in without_known(anomalies, window, history, spec, known)] == left


def test_a_known_row_does_not_excuse_another(lab, spec) -> None:
    trainer = lab.trainer(10)
    rows = (lab.sample("odd", loss=11.0), lab.sample("new", loss=12.0))
    anomalies = [lab.anomaly(60)]
    window = [trainer.step(60, instead=rows)]
    assert without_known(anomalies, window, trainer.run(60), spec, ("odd",)) == tuple(anomalies)
