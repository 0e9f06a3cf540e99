"""The data plan's promises, each tried to be broken with random sizes, mixes, schedules and blacklists."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_contracts import Schedule
from aft_worker.data.errors import EverythingBlacklisted, InvalidMix
from aft_worker.data.mix import PERIOD, pattern_of
from aft_worker.data.plan import DataPlan, Slot

WEIGHTS = st.floats(min_value=0.01, max_value=100)
MIXES = st.fixed_dictionaries({"a": WEIGHTS, "b": WEIGHTS, "c": WEIGHTS})


def plan_of(sizes: Mapping[str, int], *, seed: int = 0, batch_size: int = 4, **weights: float) -> DataPlan:
    ids = {domain: [f"{domain}{row}" for row in range(size)] for domain, size in sizes.items()}
    return DataPlan(seed=seed, sample_ids=ids, weights=weights or dict.fromkeys(sizes, 1.0), batch_size=batch_size)


def drawn(plan: DataPlan, steps: range, schedule: Schedule) -> list[Slot]:
    return [slot for step in steps for slot in plan.slots_at(step, schedule)]


@settings(deadline=None, max_examples=15)
@given(size=st.integers(1, 200), seed=st.integers(0, 2**31 - 1), batch_size=st.integers(1, 7))
def test_every_row_comes_once_an_epoch(size: int, seed: int, batch_size: int) -> None:
    plan = plan_of({"a": size}, seed=seed, batch_size=batch_size)
    rows = [slot.row for slot in drawn(plan, range(2 * size // batch_size + 1), Schedule())]
    for epoch in range(len(rows) // size):
        assert sorted(rows[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_and_seeds_differ_in_order() -> None:
    rows = [slot.row for slot in drawn(plan_of({"a": 40}), range(20), Schedule())]
    other = [slot.row for slot in drawn(plan_of({"a": 40}, seed=1), range(20), Schedule())]
    assert rows[:40] != rows[40:]
    assert rows != other


def test_plan_is_the_same_for_ever() -> None:
    """A stored run must read on where it stopped, so a change of these figures breaks every run on disk."""
    slots = plan_of({"a": 10, "b": 7}, seed=3, a=2.0, b=1.0).slots_at(5, Schedule())
    assert [(slot.domain, slot.row) for slot in slots] == [("a", 5), ("a", 4), ("b", 6), ("a", 7)]


@settings(deadline=None, max_examples=40)
@given(mixes=st.lists(st.tuples(st.integers(0, 40), MIXES), max_size=4), batch_size=st.integers(1, 5))
def test_changing_the_mix_repeats_and_skips_nothing(mixes: list[tuple[int, dict[str, float]]], batch_size: int) -> None:
    plan = plan_of({"a": 5, "b": 17, "c": 29}, batch_size=batch_size)
    schedule = Schedule()
    for step, weights in sorted(mixes, key=lambda mix: mix[0]):
        schedule = schedule.with_mix(weights, step=step)
    slots = drawn(plan, range(60), schedule)
    for domain, size in plan.sizes.items():
        rows = [slot.row for slot in slots if slot.domain == domain]
        unbroken = [slot.row for slot in drawn(plan_of(plan.sizes, **{domain: 1.0}), range(80), Schedule())]
        assert rows == unbroken[: len(rows)]
        assert all(count <= -(-len(rows) // size) for count in Counter(rows).values())


@settings(deadline=None, max_examples=40)
@given(mix=MIXES, step=st.integers(0, 30))
def test_a_mix_leaves_the_steps_before_it_alone(mix: dict[str, float], step: int) -> None:
    plan = plan_of({"a": 5, "b": 17, "c": 29})
    changed = Schedule().with_mix(mix, step=step)
    assert drawn(plan, range(step), changed) == drawn(plan, range(step), Schedule())


@settings(deadline=None, max_examples=40)
@given(
    banned=st.sets(st.sampled_from([f"{domain}{row}" for domain in "ab" for row in range(9)]), max_size=12),
    step=st.integers(0, 12),
)
def test_blacklisted_ids_never_come_and_move_no_other(banned: set[str], step: int) -> None:
    plan = plan_of({"a": 9, "b": 30})
    schedule = Schedule().with_blacklisted(sorted(banned), step=step, cause="test")
    if {f"a{row}" for row in range(9)} <= banned:
        return
    before, after = (drawn(plan, range(30), course) for course in (Schedule(), schedule))
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if place // 4 >= step and plan.sample_id(old) in banned:
            assert new.domain == old.domain
            assert plan.sample_id(new) not in banned
        else:
            assert new == old


@settings(deadline=None, max_examples=40)
@given(first=st.integers(0, 8), second=st.integers(0, 8))
def test_a_second_ban_keeps_the_substitutes_of_the_first(first: int, second: int) -> None:
    plan = plan_of({"a": 9})
    one = Schedule().with_blacklisted([f"a{first}"], step=0, cause="test")
    two = one.with_blacklisted([f"a{second}"], step=0, cause="test")
    for old, new in zip(drawn(plan, range(20), one), drawn(plan, range(20), two), strict=True):
        assert new == old or plan.sample_id(old) == f"a{second}"


@settings(deadline=None, max_examples=40)
@given(row=st.integers(0, 8), other=st.integers(0, 8), step=st.integers(0, 12), held=st.integers(0, 12))
def test_a_lifted_ban_leaves_no_trace_behind_it_and_moves_no_other(row: int, other: int, step: int, held: int) -> None:
    plan = plan_of({"a": 9, "b": 30})
    kept = Schedule().with_blacklisted([f"a{other}"], step=0, cause="test")
    banned = kept.with_blacklisted([f"a{row}"], step=step, cause="test")
    lifted = banned.with_lifted([f"a{row}"], step=step + held) if row != other else kept
    before, during, after = (drawn(plan, range(30), course) for course in (kept, banned, lifted))
    changes = (step + held) * 4
    if row != other:
        assert after[:changes] == during[:changes]
    assert after[changes:] == before[changes:]


def test_steps_may_be_asked_in_any_order() -> None:
    plan = plan_of({"a": 9, "b": 30})
    schedule = Schedule().with_mix({"a": 1, "b": 5}, step=7).with_blacklisted(["a1"], step=3, cause="test")
    forward = {step: plan.slots_at(step, schedule) for step in range(20)}
    assert {step: plan.slots_at(step, schedule) for step in reversed(range(20))} == forward


@settings(deadline=None, max_examples=40)
@given(mix=MIXES, slots=st.integers(1, 5 * PERIOD))
def test_shares_stay_near_the_weights(mix: dict[str, float], slots: int) -> None:
    pattern, total = pattern_of(mix), sum(mix.values())
    counts = Counter(pattern.domain_at(slot) for slot in range(slots))
    for domain, weight in mix.items():
        assert counts[domain] == pattern.drawn(domain, slots)
        # Evenly spread: never more than a few rows ahead or behind, and the weights are met to 3 / PERIOD.
        assert abs(counts[domain] - slots * weight / total) <= 3 + slots * 3 / PERIOD


def test_small_weights_are_drawn_and_zero_is_not() -> None:
    pattern = pattern_of({"a": 1e300, "b": 1e-300, "c": 0.0})
    assert Counter(pattern.domains) == {"a": PERIOD - 1, "b": 1}


def test_last_of_several_changes_at_one_step_holds() -> None:
    plan = plan_of({"a": 9, "b": 9})
    twice = Schedule().with_mix({"a": 1}, step=2).with_mix({"b": 1}, step=2)
    assert drawn(plan, range(9), twice) == drawn(plan, range(9), Schedule().with_mix({"b": 1}, step=2))


def test_a_domain_without_allowed_rows_is_an_error() -> None:
    schedule = Schedule().with_blacklisted(["a0", "a1"], step=0, cause="test")
    with pytest.raises(EverythingBlacklisted, match="All 2 rows of domain 'a' are blacklisted"):
        plan_of({"a": 2}).slots_at(0, schedule)


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"a": -1.0}, "domain 'a' is -1.0"),
        ({"a": 0.0}, "0 domains have a weight above 0"),
        ({"z": 1.0}, r"unknown domains \['z'\]"),
    ],
)
def test_a_mix_that_cannot_be_drawn_is_refused(mix: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidMix, match=words):
        plan_of({"a": 2}).slots_at(1, Schedule().with_mix(mix, step=0))
