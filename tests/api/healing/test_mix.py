"""Mix adaptation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aft_api.healing.mix import adapt_mix
from aft_contracts import CurriculumSpec, DomainScore, Evaluated

SPEC = CurriculumSpec(tolerance_nats=0.05, gain=1.5, max_weight_share=0.8)


def evaluated(*losses: dict[str, float]) -> list[Evaluated]:
    return [
        Evaluated(step=step, scores={name: DomainScore(loss=loss, tokens=9) for name, loss in scores.items()})
        for step, scores in enumerate(losses)
    ]


@pytest.mark.parametrize(
    ("losses", "weights", "expected"),
    [
        pytest.param([{"a": 2.0}, {"a": 2.2}], {"a": 1, "b": 1}, {"a": 1.2, "b": 0.8}, id="forgotten"),
        pytest.param([{"a": 3.0}, {"a": 2.0}, {"a": 2.2}], {"a": 1, "b": 1}, {"a": 1.2, "b": 0.8}, id="against-best"),
        pytest.param([{"a": 2.0}, {"a": 2.05}], {"a": 1, "b": 1}, None, id="within-tolerance"),
        pytest.param([{"a": 2.0}, {"a": 9.0}], {"a": 75, "b": 25}, {"a": 80, "b": 20}, id="capped"),
        pytest.param([{"a": 2.0}, {"a": 9.0}], {"a": 9, "b": 1}, None, id="above-the-cap-already"),
        pytest.param([{"a": 2.0, "b": 2.0}, {"a": 3.0, "b": 3.0}], {"a": 1, "b": 1}, None, id="all-forgotten"),
        pytest.param([{"a": 2.0}, {"a": 3.0}], {"a": 1}, None, id="one-domain"),
        pytest.param([{"a": 2.0}, {"a": 3.0}], {"a": 0, "b": 1}, None, id="switched-off-stays-off"),
        pytest.param([{"x": 2.0}, {"x": 3.0}], {"a": 1, "b": 1}, None, id="not-a-training-domain"),
        pytest.param([{"a": 2.0}, {"a": math.nan}], {"a": 1, "b": 1}, None, id="nan-now"),
        pytest.param([{"a": 2.0}, {"a": math.inf}], {"a": 1, "b": 1}, None, id="infinite-now"),
        pytest.param([{"a": math.nan}, {"a": 3.0}], {"a": 1, "b": 1}, None, id="nan-before"),
        pytest.param([{"a": 2.0}, {"b": 2.0}], {"a": 1, "b": 1}, None, id="not-scored-now"),
        pytest.param([], {"a": 1, "b": 1}, None, id="never-evaluated"),
    ],
)
def test_new_weights(losses, weights, expected) -> None:
    new = adapt_mix(evaluated(*losses), weights, SPEC)
    assert new == (None if expected is None else pytest.approx(expected))


def test_it_does_nothing_when_told_not_to() -> None:
    spec = SPEC.model_copy(update={"adapt": False})
    assert adapt_mix(evaluated({"a": 2.0}, {"a": 9.0}), {"a": 1, "b": 1}, spec) is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), min_size=1, max_size=6),
    st.floats(1.01, 4),
    st.floats(0.05, 0.95),
)
def test_the_total_stays_and_forgotten_domains_never_lose(domains, gain, cap) -> None:
    spec = CurriculumSpec(gain=gain, max_weight_share=cap)
    weights = {f"d{number}": weight for number, (weight, _) in enumerate(domains)}
    scores = [{f"d{number}": 2.0 + late * forgot for number, (_, forgot) in enumerate(domains)} for late in (0, 1)]
    new = adapt_mix(evaluated(*scores), weights, spec)
    if new is None:
        return
    total = sum(weights.values())
    assert sum(new.values()) == pytest.approx(total)
    for number, (weight, forgot) in enumerate(domains):
        changed = new[f"d{number}"]
        assert changed >= weight - 1e-9 * total if forgot else changed <= weight + 1e-9 * total
        assert changed <= max(cap * total, weight) + 1e-9 * total
