"""Telling culprits from bystanders, by bisection."""

from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_api.healing.culprits import Trials, trials_by_step
from aft_api.healing.replay import WITHOUT_SUSPECTS, plan_bisection, plan_replay
from aft_contracts import RepairPolicy, Schedule


def search(suspects: tuple[str, ...], is_bad, *, replays: int = 99) -> tuple[frozenset[str], int]:
    """Bisect to the end: who is convicted, and after how many replays."""
    bad: set[frozenset[str]] = set()
    clean: set[frozenset[str]] = set()
    used = 0
    while True:
        trials = Trials(suspects=suspects, bad=frozenset(bad), clean=frozenset(clean))
        pairs = trials.halves()[: (replays - used) // 2]
        if not pairs:
            return trials.culprits, used
        for group in (group for pair in pairs for group in pair):
            (bad if is_bad(group) else clean).add(group)
            used += 1


def contains(culprits: Collection[str]):
    return lambda group: bool(group & set(culprits))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))))
def test_whoever_does_it_alone_is_found_and_nobody_else(crowd: tuple[int, set[int]]) -> None:
    size, guilty = crowd
    culprits = {f"x{number}" for number in guilty}
    found, used = search(tuple(f"x{number}" for number in range(size)), contains(culprits))
    assert found == culprits
    assert used <= 2 * size


def test_one_among_many_costs_the_logarithm() -> None:
    suspects = tuple(f"x{number}" for number in range(32))
    assert search(suspects, contains({"x19"})) == ({"x19"}, 10)


def test_those_who_only_do_it_together_are_convicted_together() -> None:
    assert search(("a", "b", "c", "d"), lambda group: {"b", "c"} <= group)[0] == {"a", "b", "c", "d"}
    assert search(("a", "b", "c", "d"), lambda group: {"a", "b"} <= group)[0] == {"a", "b"}


def test_where_replays_run_out_those_not_told_apart_are_convicted_together() -> None:
    suspects = tuple(f"x{number}" for number in range(8))
    assert search(suspects, contains({"x5"}), replays=4) == ({"x4", "x5"}, 4)
    assert search(suspects, contains({"x5"}), replays=1) == ({*suspects}, 0)


def test_each_step_tries_its_own_suspects(lab) -> None:
    suspects = [lab.suspect("a", 20), lab.suspect("b", 20), lab.suspect("c", 21), lab.suspect("free", 22)]
    left_in = {frozenset({"a", "c"}): {20, 21}, frozenset({"b"}): {21}}
    found = trials_by_step(suspects, {"a", "b", "c"}, {20, 21, 22}, left_in)
    assert {step: (one.suspects, one.culprits) for step, one in found.items()} == {
        20: (("a", "b"), {"a"}), 21: (("c",), {"c"}),
    }  # fmt: skip


@pytest.mark.parametrize(("left", "variants"), [(24, 2), (2, 2), (1, 0)])
def test_a_round_leaves_each_half_in_by_itself(lab, left, variants) -> None:
    suspects = [lab.suspect(f"x{number}", 20) for number in range(6)]
    asked = plan_replay("a1", "run", Schedule(), [lab.anomaly(20)], suspects, RepairPolicy(), window_start=20)
    assert [one.name for one in asked.variants] == ["as_it_was", WITHOUT_SUSPECTS]
    trials = trials_by_step(suspects, {*asked.variants[1].masked_sample_ids}, {20}, {})
    plan = plan_bisection(asked, trials.values(), round_number=1, replays_left=left)
    if not variants:
        assert plan is None
        return
    assert plan is not None
    assert (plan.analysis_id, plan.start_step, plan.end_step) == ("a1:1", asked.start_step, asked.end_step)
    assert [(one.name, one.masked_sample_ids) for one in plan.variants] == [
        ("group:1.0", ("x3", "x4", "x5")), ("group:1.1", ("x0", "x1", "x2")),
    ]  # fmt: skip
