"""Every contract survives JSON whole, figures that are not finite included."""

import inspect
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import aft_contracts
from aft_contracts import (
    Anomaly,
    AnomalyKind,
    Contract,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobRequest,
    JobView,
    RunSpec,
    StepRecord,
    WindowResult,
    WindowSpec,
    digest_of,
)
from tests.contracts.strategies import contracts

GENERIC = {Contract, JobRequest, JobView}
PLAIN: list[type[Contract]] = sorted(
    {
        member
        for _, member in inspect.getmembers(aft_contracts, inspect.isclass)
        if issubclass(member, Contract) and member not in GENERIC
    },
    key=lambda model: model.__name__,
)
JOBS: list[type[Contract]] = [
    JobRequest[WindowSpec],
    JobRequest[aft_contracts.AnalysisSpec],
    JobRequest[EvaluationSpec],
    JobRequest[ExportJob],
    JobView[WindowResult],
    JobView[aft_contracts.AnalysisResult],
    JobView[EvaluationResult],
    JobView[ExportResult],
]


@pytest.mark.parametrize("model", [*PLAIN, *JOBS], ids=lambda model: model.__name__)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_json_gives_back_the_same_value(model: type[Contract], drawn: st.DataObject) -> None:
    value = drawn.draw(contracts(model))
    text = value.model_dump_json()
    again = model.model_validate_json(text)
    assert _same(again.model_dump(), value.model_dump())
    assert digest_of(again) == digest_of(value)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.mark.parametrize(("figure", "word"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_figure_that_is_not_finite_is_a_word_in_json(figure: float, word: str) -> None:
    record = StepRecord(
        step=3, loss=figure, grad_norm=figure, lr=1e-4, clip_norm=1.0, tokens=7, applied=False, seconds=0.5
    )
    body = json.loads(record.model_dump_json())
    assert (body["loss"], body["grad_norm"]) == (word, word)
    again = StepRecord.model_validate(body)
    assert _same([again.loss, again.grad_norm], [figure, figure])


def test_python_keeps_the_float() -> None:
    anomaly = Anomaly(kind=AnomalyKind.NON_FINITE, step=1, value=math.nan, score=math.inf, threshold=0.0, applied=False)
    assert math.isnan(anomaly.model_dump()["value"]), "only JSON needs words"


@pytest.mark.parametrize("model", [*PLAIN, *JOBS], ids=lambda model: model.__name__)
def test_unknown_field_is_refused(model: type[Contract]) -> None:
    with pytest.raises(ValidationError, match="surprise"):
        model.model_validate({"surprise": 1})


@pytest.mark.parametrize("model", [*PLAIN, *JOBS], ids=lambda model: model.__name__)
def test_every_field_says_what_it_means(model: type[Contract]) -> None:
    literal = {"kind"} if "kind" in model.model_fields and model.model_fields["kind"].default else set()
    silent = [name for name, field in model.model_fields.items() if not field.description and name not in literal]
    assert silent == []


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(one=contracts(RunSpec), other=contracts(RunSpec))
def test_digest_tells_specs_apart(one: Contract, other: Contract) -> None:
    assert (digest_of(one) == digest_of(other)) == (one.model_dump_json() == other.model_dump_json())


def _same(one: Any, other: Any) -> bool:
    """Equal, where NaN equals NaN."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
