"""Rows that say one thing over and over."""

import pytest

from aft_api.healing.detect import judge
from aft_api.healing.reference import SampleReference
from aft_api.healing.suspects import find_suspects, without_known
from aft_contracts import AnomalyKind, SampleRecord, StepRecord, Withheld

HERE = 80


@pytest.fixture
def past(lab) -> list[StepRecord]:
    return [
        lab.of_rows(
            step,
            (lab.sample(f"r{step}", loss=3 + 0.01 * (step % 21), grad_norm=1 + 0.01 * (step % 13), repetition=0.1),),
        )
        for step in range(20, HERE)
    ]


def repeating(lab, past, spec, z: float, repetition: float | None, **changes) -> SampleRecord:
    """A row with a loss like all others', whose gradient stands `z` out."""
    norm = lab.grad_norm_at(SampleReference(past, spec), z, step=HERE)
    return lab.sample(changes.pop("sample_id", "x"), loss=3.1, grad_norm=norm, repetition=repetition, **changes)


def found_in(step: StepRecord, past, spec):
    return [one for one in judge([step], past, spec) if one.kind is AnomalyKind.REPETITION]


@pytest.mark.parametrize(
    ("z", "repetition", "is_found"),
    [
        pytest.param(0.5, 0.0, True, id="both"),
        pytest.param(-0.5, 0.0, False, id="pulls-no-harder-than-others"),
        pytest.param(0.5, -0.01, False, id="says-something-else-at-times"),
        pytest.param(-6.0, 0.05, False, id="changes-nothing"),
    ],
)
def test_a_row_is_called_out_where_it_repeats_itself_and_pulls_hard(lab, spec, past, z, repetition, is_found) -> None:
    row = repeating(lab, past, spec, spec.sample_z + z, spec.repetition_share + repetition)
    found = found_in(lab.of_rows(HERE, (row,)), past, spec)
    assert [one.sample_ids for one in found] == ([("x",)] if is_found else [])


def test_its_figures_are_those_of_the_row_that_pulls_hardest(lab, spec, past) -> None:
    rows = [repeating(lab, past, spec, z, 0.96 + z / 1000, sample_id=f"z{z}") for z in (7, 9, 8)]
    [found] = found_in(lab.of_rows(HERE, tuple(rows)), past, spec)
    assert found.sample_ids == ("z9", "z8", "z7")
    assert (found.value, found.score, found.threshold) == (pytest.approx(0.969), pytest.approx(9), spec.sample_z)


def test_a_row_of_which_nobody_counted_it_is_not_judged_by_it(lab, spec, past) -> None:
    row = repeating(lab, past, spec, 9, None)
    assert found_in(lab.of_rows(HERE, (row,)), past, spec) == []


def test_neither_a_row_that_was_left_out_nor_a_skipped_step_is_judged(lab, spec, past) -> None:
    masked = repeating(lab, past, spec, 9, 0.99, tokens=0)
    assert found_in(lab.of_rows(HERE, (masked, lab.sample("other"))), past, spec) == []
    whole = lab.of_rows(HERE, (repeating(lab, past, spec, 9, 0.99),))
    assert found_in(whole.model_copy(update={"withheld": Withheld.SKIPPED, "applied": False}), past, spec) == []


def test_it_is_a_suspect_and_known_once_it_was_looked_into(lab, spec, past) -> None:
    step = lab.of_rows(HERE, (repeating(lab, past, spec, 9, 0.99),))
    found = judge([step], past, spec)
    assert [one.sample_id for one in find_suspects(found, [step], past, spec)] == ["x"]
    assert without_known(found, [step], past, spec, ("other",)) == found
    assert without_known(found, [step], past, spec, ("x",)) == ()
