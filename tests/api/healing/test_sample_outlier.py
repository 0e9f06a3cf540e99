"""The sample detector."""

import math

import pytest

from aft_api.healing.detect import judge
from aft_api.healing.reference import SampleReference
from aft_api.healing.suspects import find_suspects
from aft_contracts import AnomalyKind, SampleRecord, StepRecord, Withheld


def outliers(found) -> dict[int, tuple[str, ...]]:
    return {anomaly.step: anomaly.sample_ids for anomaly in found if anomaly.kind is AnomalyKind.SAMPLE_OUTLIER}


def test_a_bad_row_is_found_where_the_mean_of_the_batch_hides_it(lab, spec) -> None:
    trainer = lab.trainer(5, rows=16)
    history = trainer.run(40)
    window = [trainer.step(step) for step in range(40, 50)]
    window[4] = trainer.step(44, instead=(lab.sample("poison", loss=11.5, tokens=24),))
    found = judge(window, history, spec)
    assert outliers(found) == {44: ("poison",)}
    assert not [anomaly for anomaly in found if anomaly.kind is AnomalyKind.LOSS_SPIKE]


def test_it_speaks_in_the_first_window_once_enough_other_samples_are_there(lab, spec) -> None:
    trainer = lab.trainer(6, rows=8, domains=("chat",))
    rows = [trainer.step(step) for step in range(10)]
    rows[7] = trainer.step(7, instead=(lab.sample("poison", loss=11.0),))
    assert outliers(judge(rows, (), spec)) == {7: ("poison",)}
    assert outliers(judge(rows[4:], (), spec.model_copy(update={"min_samples": 48}))) == {}


def test_a_rare_row_is_called_out_only_where_its_gradient_bears_witness(lab, spec) -> None:
    past = lab.even_past()
    spread = SampleReference(past, spec)

    def at(z: float, **changes: float) -> SampleRecord:
        return lab.sample("x", loss=lab.loss_at(spread, z, step=80), **changes)

    rare, bad = (lab.of_rows(80, (at(spec.outlier_z + side),)) for side in (-0.01, 0.01))
    assert spec.sample_z < spec.witnessed_z < spec.outlier_z
    assert outliers(judge([rare], past, spec)) == {}
    assert outliers(judge([bad], past, spec)) == {80: ("x",)}
    steep = (lab.grad_norm_at(spread, spec.witness_z + side, step=80) for side in (-0.01, 0.01))
    unheard, seen_twice = (lab.of_rows(80, (at(spec.witnessed_z + 0.01, grad_norm=norm),)) for norm in steep)
    assert outliers(judge([unheard], past, spec)) == {}
    [found] = [one for one in judge([seen_twice], past, spec) if one.kind is AnomalyKind.SAMPLE_OUTLIER]
    assert (found.sample_ids, found.threshold) == (("x",), spec.witnessed_z)
    loss_spike = lab.anomaly(80)
    assert [suspect.sample_id for suspect in find_suspects([loss_spike], [rare], past, spec)] == ["x"]


def test_bad_rows_seldom_come_alone(lab, spec) -> None:
    past = lab.even_past()
    spread = SampleReference(past, spec)

    def at(step: int, z: float, **changes) -> StepRecord:
        loss = lab.loss_at(spread, z, step=step)
        return lab.of_rows(step, (lab.sample(f"x{step}", loss=loss),)).model_copy(update=changes)

    assert spec.sample_z < spec.witnessed_z < spec.outlier_z
    near, nearer = at(83, spec.witnessed_z - 0.01), at(84, spec.witnessed_z + 0.01)
    bad = at(86, spec.outlier_z + 0.01)
    assert outliers(judge([near, nearer], past, spec)) == {}
    found = judge([near, nearer, bad], past, spec)
    assert outliers(found) == {84: ("x84",), 86: ("x86",)}
    bars = {one.step: one.threshold for one in found if one.kind is AnomalyKind.SAMPLE_OUTLIER}
    assert bars == {84: spec.witnessed_z, 86: spec.outlier_z}
    skipped = at(86, spec.outlier_z + 0.01, withheld=Withheld.SKIPPED, applied=False)
    assert outliers(judge([near, nearer, skipped], past, spec)) == {}, "a step that a human skipped is no company"


@pytest.mark.parametrize("share", [0.02, 0.05, 0.10])
def test_many_bad_rows_do_not_hide_each_other(lab, spec, share: float) -> None:
    trainer = lab.trainer(7, rows=10, domains=("chat",))
    window = trainer.run(20)
    bad = {f"poison{number}": number for number in range(int(200 * share))}
    for sample_id, step in bad.items():
        window[step] = trainer.step(step, instead=(lab.sample(sample_id, loss=12.0),))
    named = {sample_id for ids in outliers(judge(window, (), spec)).values() for sample_id in ids}
    assert named == set(bad)


def test_short_rows_are_granted_their_larger_spread(lab, spec) -> None:
    losses = lab.trainer(8).rng.normal(3.5, 0.5, 60).tolist()
    history = [lab.of_rows(step, (lab.sample(f"r{step}", loss=loss, tokens=64),)) for step, loss in enumerate(losses)]
    window = [
        lab.of_rows(60 + row, (lab.sample(f"x{row}", loss=12.0, tokens=tokens),)) for row, tokens in enumerate((4, 64))
    ]
    assert outliers(judge(window, history, spec)) == {61: ("x1",)}


def test_length_is_learned_where_the_domain_shows_it(lab, spec) -> None:
    rng = lab.trainer(9).rng
    history = [
        lab.of_rows(
            step,
            (
                lab.sample(f"s{step}", loss=float(rng.normal(6.0, 0.5)), tokens=4),
                lab.sample(f"l{step}", loss=float(rng.normal(2.0, 0.2)), tokens=100),
            ),
        )
        for step in range(80)
    ]
    window = [
        lab.of_rows(80 + row, (lab.sample(f"x{row}", loss=6.0, tokens=tokens),)) for row, tokens in enumerate((4, 100))
    ]
    assert outliers(judge(window, history, spec)) == {81: ("x1",)}


def test_a_domain_is_measured_by_its_own_rows_only(lab, spec) -> None:
    rng = lab.trainer(9).rng
    history = [
        lab.of_rows(
            step,
            tuple(
                lab.sample(f"{domain}{step}", domain=domain, loss=float(level + rng.normal(0, 0.2)))
                for domain, level in (("hard", 8.0), ("easy", 1.0))
            ),
        )
        for step in range(60)
    ]
    window = [lab.of_rows(60, (lab.sample("a", domain="hard", loss=8.1), lab.sample("b", domain="easy", loss=8.1)))]
    assert outliers(judge(window, history, spec)) == {60: ("b",)}


def test_rows_without_a_token_and_domains_without_a_past_are_not_judged(lab, spec) -> None:
    empty = lab.sample("empty", loss=math.nan, tokens=0)
    new = lab.sample("new", domain="new", loss=30.0)
    assert outliers(judge([lab.step(0, samples=(empty, new))], (), spec)) == {}


def test_a_loss_that_is_not_finite_needs_no_reference(lab, spec) -> None:
    found = judge([lab.step(0, samples=(lab.sample("nan", loss=math.nan), lab.sample("fine")))], (), spec)
    assert outliers(found) == {0: ("nan",)}


def test_the_rows_of_a_withheld_step_are_judged_but_never_learned_from(lab, spec) -> None:
    trainer = lab.trainer(10, rows=8, domains=("chat",))
    high = [trainer.step(step, 12.0).model_copy(update={"applied": False, "withheld": "loss"}) for step in range(20)]
    clean = [trainer.step(step) for step in range(20, 30)]
    poisoned = trainer.step(30, instead=(lab.sample("poison", loss=12.0),))
    assert outliers(judge([poisoned], [*high, *clean], spec)) == {30: ("poison",)}
