"""The schedule: what holds at which step, and what a rollback does to it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aft_contracts import BlacklistEntry, Branch, ClipChange, MixSegment, RateChange, Schedule

STEPS = st.integers(0, 60)


def _changed(schedule: Schedule, change: tuple[str, int]) -> Schedule:
    kind, step = change
    changes: dict[str, Callable[[], Schedule]] = {
        "blacklist": lambda: schedule.with_blacklisted([f"row-{step}"], step=step, cause="d1"),
        "lift": lambda: schedule.with_lifted([entry.sample_id for entry in schedule.blacklist[:1]], step=step),
        "rate": lambda: schedule.with_rate(0.5, step=step),
        "clip": lambda: schedule.with_clip(2.0, step=step),
        "mix": lambda: schedule.with_mix({"a": 1.0}, step=step),
        "skip": lambda: schedule.with_skipped(step),
        "rollback": lambda: schedule.rolled_back(step),
    }
    return changes[kind]()


CHANGES = st.lists(
    st.tuples(st.sampled_from(["blacklist", "lift", "rate", "clip", "mix", "skip", "rollback"]), STEPS), max_size=8
)


def test_fresh_schedule_changes_nothing() -> None:
    schedule = Schedule()
    assert (schedule.generation, schedule.lineage(10)) == (0, [(0, 10)])
    assert schedule.blacklist_at(10) == frozenset()
    assert (schedule.rate_change_at(10), schedule.clip_at(10)) == (None, None)


def test_blacklisted_row_is_banned_from_its_step_on() -> None:
    schedule = Schedule().with_blacklisted(["a", "b", "a"], step=5, cause="d1")
    assert schedule.blacklist_at(4) == frozenset()
    assert schedule.blacklist_at(5) == {"a", "b"}


def test_row_banned_twice_keeps_its_first_entry() -> None:
    schedule = Schedule().with_blacklisted(["a"], step=5, cause="d1").with_blacklisted(["a", "b"], step=9, cause="d2")
    assert schedule.blacklist == (
        BlacklistEntry(sample_id="a", step=5, cause="d1"),
        BlacklistEntry(sample_id="b", step=9, cause="d2"),
    )


def test_lifted_ban_held_until_its_step_and_may_be_made_again() -> None:
    banned = Schedule().with_blacklisted(["a", "b"], step=5, cause="repair:d1", diagnosis_id="d1")
    lifted = banned.with_lifted(["a"], step=8)
    assert [lifted.blacklist_at(step) for step in (4, 7, 8)] == [frozenset(), {"a", "b"}, {"b"}]
    assert (lifted.banned, lifted.version) == ({"b"}, banned.version + 1)
    assert {entry.diagnosis_id for entry in lifted.blacklist} == {"d1"}
    again = lifted.with_blacklisted(["a", "b"], step=9, cause="d2")
    assert [(entry.sample_id, entry.step, entry.until_step) for entry in again.blacklist] == [
        ("a", 5, 8), ("b", 5, None), ("a", 9, None),
    ]  # fmt: skip
    assert again.blacklist_at(8) == {"b"}
    assert again.blacklist_at(9) == {"a", "b"}


@pytest.mark.parametrize(("target", "bans"), [(3, []), (6, [5]), (8, [5, 6, 7])])
def test_rollback_keeps_a_lifted_ban_for_the_steps_it_held_in(target: int, bans: list[int]) -> None:
    schedule = Schedule().with_blacklisted(["a"], step=5, cause="d1").with_lifted(["a"], step=8).rolled_back(target)
    assert [step for step in range(12) if schedule.blacklist_at(step)] == bans


def test_last_change_at_or_before_a_step_holds() -> None:
    schedule = Schedule().with_rate(0.5, step=4, rewarmup_steps=2).with_rate(0.25, step=8)
    assert schedule.rate_change_at(3) is None
    assert schedule.rate_change_at(7) == RateChange(step=4, scale=0.5, rewarmup_steps=2)
    assert schedule.rate_change_at(8) == RateChange(step=8, scale=0.25)
    clipped = Schedule().with_clip(1.0, step=2).with_clip(0.5, step=2)
    assert (clipped.clip_at(1), clipped.clip_at(2)) == (None, 0.5)


def test_skipped_steps_are_a_sorted_set() -> None:
    assert Schedule().with_skipped(9).with_skipped(3).with_skipped(9).skipped_steps == (3, 9)


def test_rollback_opens_a_generation_and_pulls_later_changes_back() -> None:
    before = (
        Schedule()
        .with_mix({"a": 1.0}, step=2)
        .with_blacklisted(["row"], step=14, cause="d1")
        .with_rate(0.5, step=12)
        .with_clip(0.5, step=6)
    )
    after = before.rolled_back(8)
    assert after == Schedule(
        version=before.version + 1,
        mix=(MixSegment(step=2, weights={"a": 1.0}),),
        blacklist=(BlacklistEntry(sample_id="row", step=8, cause="d1"),),
        rates=(RateChange(step=8, scale=0.5),),
        clips=(ClipChange(step=6, max_norm=0.5),),
        branches=(Branch(generation=1, step=8),),
    )


@pytest.mark.parametrize(
    ("rollbacks", "step", "lineage"),
    [
        ([8], 12, [(1, 12), (0, 8)]),
        ([8], 8, [(1, 8), (0, 8)]),
        ([8, 16], 20, [(2, 20), (1, 16), (0, 8)]),
        ([16, 8], 10, [(2, 10), (1, 8), (0, 8)]),
        ([16, 0], 4, [(2, 4), (1, 0), (0, 0)]),
    ],
)
def test_lineage_names_the_ancestors_of_a_step(rollbacks: list[int], step: int, lineage: list[tuple[int, int]]) -> None:
    schedule = Schedule()
    for target in rollbacks:
        schedule = schedule.rolled_back(target)
    assert schedule.lineage(step) == lineage


@settings(deadline=None, derandomize=True)
@given(changes=CHANGES, step=STEPS)
def test_any_course_keeps_its_promises(changes: list[tuple[str, int]], step: int) -> None:
    schedule = Schedule()
    for change in changes:
        schedule = _changed(schedule, change)
    assert schedule.version == len(changes)
    assert schedule.generation == sum(kind == "rollback" for kind, _ in changes)
    reaches = [reach for _, reach in schedule.lineage(step)]
    assert reaches == sorted(reaches, reverse=True), "an ancestor never lies ahead of its descendant"
    assert [generation for generation, _ in schedule.lineage(step)] == list(range(schedule.generation, -1, -1))
    lifted = {entry.sample_id for entry in schedule.blacklist if entry.until_step == step + 1}
    assert schedule.blacklist_at(step) - lifted <= schedule.blacklist_at(step + 1), "no ban ends by itself"
    assert Schedule.model_validate_json(schedule.model_dump_json()) == schedule


@settings(deadline=None, derandomize=True)
@given(changes=CHANGES, target=STEPS)
def test_no_ban_is_lost_by_a_rollback(changes: list[tuple[str, int]], target: int) -> None:
    schedule = Schedule()
    for change in changes:
        schedule = _changed(schedule, change)
    rolled_back = schedule.rolled_back(target)
    assert rolled_back.banned == schedule.banned
    assert rolled_back.blacklist_at(target) == schedule.banned, "what was decided after the target holds from there"


@pytest.mark.parametrize(
    ("changed", "armed_from"),
    [
        pytest.param(Schedule(), 0, id="nothing"),
        pytest.param(Schedule().with_rate(0.5, step=8), 8, id="rate"),
        pytest.param(Schedule().with_clip(0.5, step=8), 8, id="clip"),
        pytest.param(Schedule().with_mix({"a": 1.0}, step=8), 8, id="mix"),
        pytest.param(Schedule().with_rate(0.5, step=8).with_clip(0.5, step=12), 12, id="the-last-of-several"),
        pytest.param(Schedule().with_rate(0.5, step=8).with_rate(1.0, step=21), 8, id="not-yet"),
        pytest.param(Schedule().with_rate(0.5, step=15).rolled_back(9), 9, id="moved-by-a-rollback"),
        pytest.param(Schedule().rolled_back(9), 0, id="a-rollback-alone"),
        pytest.param(Schedule().with_blacklisted(["x"], step=9, cause="d").with_skipped(10), 0, id="a-ban"),
    ],
)
def test_what_is_known_of_the_course_begins_anew_with_another_rate_clip_or_mix(changed, armed_from) -> None:
    assert changed.armed_from(20) == armed_from
