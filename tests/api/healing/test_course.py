"""Schedules after repairs and commands."""

from typing import Any

import pytest

from aft_api.healing.course import apply_command, apply_repair
from aft_api.healing.errors import CommandImpossible
from aft_contracts import (
    BlacklistSamples,
    Command,
    DataSpec,
    DomainSpec,
    ModelSpec,
    OptimSpec,
    Pause,
    Repair,
    Resume,
    Rollback,
    RunSpec,
    Schedule,
    SetGradClip,
    SetLearningRate,
    SetMix,
    SkipBatch,
    Stop,
    UnblacklistSamples,
    learning_rate,
)

OPTIM = OptimSpec(learning_rate=1e-3, clip_norm=1.0, steps=100)
SPEC = RunSpec(
    model=ModelSpec(path="model"),
    data=DataSpec(domains={"chat": DomainSpec(path="a", weight=3), "code": DomainSpec(path="b", weight=1)}),
    optim=OPTIM,
)


def repaired(schedule: Schedule, *, step: int = 50, **parts: Any) -> Schedule:
    repair = Repair(**{"kind": "rollback", "reasons": ("because",), **parts})
    return apply_repair(schedule, repair, step=step, cause="d1", spec=OPTIM)


def commanded(command: Command, schedule: Schedule | None = None) -> Schedule:
    return apply_command(schedule or Schedule(), command, step=50, cause="c1", spec=SPEC)


def test_everything_a_repair_changes_holds_from_the_step_it_goes_back_to() -> None:
    after = repaired(Schedule(), blacklist=("x",), rollback_to_step=40, lr_factor=0.5, clip_norm=0.25, rewarmup_steps=8)
    assert (after.generation, after.branches[-1].step) == (1, 40)
    assert [(entry.sample_id, entry.step, entry.cause) for entry in after.blacklist] == [("x", 40, "d1")]
    assert after.rate_change_at(39) is None
    rate = after.rate_change_at(40)
    assert rate is not None
    assert (rate.scale, rate.rewarmup_steps) == (0.5, 8)
    assert (after.clip_at(39), after.clip_at(40)) == (None, 0.25)


def test_a_rate_may_change_later_than_the_run_goes_on() -> None:
    after = repaired(Schedule(), rollback_to_step=40, lr_factor=0.1, rate_from_step=46)
    assert after.rate_change_at(45) is None
    assert [learning_rate(OPTIM, after, step) / learning_rate(OPTIM, Schedule(), step) for step in (45, 46, 60)] == (
        pytest.approx([1.0, 0.1, 0.1])
    )
    assert (after.armed_from(45), after.armed_from(46)) == (0, 46)
    told = apply_command(after, SetLearningRate(learning_rate=5e-4), step=43, cause="c", spec=SPEC)
    assert learning_rate(OPTIM, told, 60) == pytest.approx(0.5 * learning_rate(OPTIM, Schedule(), 60)), (
        "who says so last"
    )


def test_a_rate_cannot_change_before_the_run_goes_on() -> None:
    change = repaired(Schedule(), rollback_to_step=40, lr_factor=0.1, rate_from_step=36).rate_change_at(40)
    assert change is not None
    assert change.step == 40


def test_a_second_rate_cut_multiplies_the_first() -> None:
    twice = repaired(repaired(Schedule(), lr_factor=0.5, step=20), lr_factor=0.5, step=50)
    rate = twice.rate_change_at(50)
    assert rate is not None
    assert rate.scale == 0.25


def test_without_rollback_a_repair_holds_from_the_current_step() -> None:
    after = repaired(Schedule(), kind="blacklist", blacklist=("x", "y"))
    assert (after.generation, {entry.step for entry in after.blacklist}) == (0, {50})


def test_parts_that_change_nothing_leave_no_trace() -> None:
    known = repaired(Schedule(), kind="blacklist", blacklist=("x",))
    assert repaired(known, kind="blacklist", blacklist=("x",), clip_norm=1.0) == known
    assert repaired(known, kind="continue") == known


@pytest.mark.parametrize("parts", [{"kind": "escalate"}, {"rollback_to_step": 51}])
def test_a_repair_that_is_none_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(CommandImpossible):
        repaired(Schedule(), **parts)


def test_commands_change_their_part_from_the_current_step() -> None:
    rate = commanded(SetLearningRate(learning_rate=5e-4, rewarmup_steps=3)).rate_change_at(50)
    assert rate is not None
    assert (rate.step, rate.scale, rate.rewarmup_steps) == (50, pytest.approx(0.5), 3)
    assert commanded(SetGradClip(max_norm=0.3)).clip_at(50) == 0.3
    assert commanded(SkipBatch(step=50)).skipped_steps == (50,)
    assert commanded(Rollback(step=30)).branches[-1].step == 30
    banned = commanded(BlacklistSamples(sample_ids=("x", "x")))
    assert [(entry.sample_id, entry.step, entry.cause) for entry in banned.blacklist] == [("x", 50, "c1")]
    assert commanded(BlacklistSamples(sample_ids=("x",)), banned) == banned


@pytest.mark.parametrize("command", [Resume(), Stop(), Pause()])
def test_commands_that_steer_leave_the_course_alone(command: Command) -> None:
    assert commanded(command) == Schedule()


def test_a_mix_is_merged_with_the_one_that_holds() -> None:
    first = commanded(SetMix(weights={"code": 5}))
    assert first.mix[-1].weights == {"chat": 3, "code": 5}
    assert commanded(SetMix(weights={"chat": 0}), first).mix[-1].weights == {"chat": 0, "code": 5}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (SkipBatch(step=49), "already trained"),
        (SkipBatch(step=100), "last step is 99"),
        (Rollback(step=51), "only at step 50"),
        (SetMix(weights={"maths": 1.0}), "no training domain maths; it has chat, code"),
        (SetMix(weights={"chat": -1.0}), "not negative"),
        (SetMix(weights={"chat": 0.0, "code": 0.0}), "above 0"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(command: Command, words: str) -> None:
    with pytest.raises(CommandImpossible, match=words) as refusal:
        commanded(command)
    assert (refusal.value.status, refusal.value.problem.code) == (409, "command_impossible")


def test_a_ban_is_lifted_from_the_step_of_the_command_on() -> None:
    banned = Schedule().with_blacklisted(["x", "y"], step=10, cause="d1")
    lifted = apply_command(banned, UnblacklistSamples(sample_ids=("x",)), step=50, cause="c1", spec=SPEC)
    assert (lifted.blacklist_at(49), lifted.blacklist_at(50)) == ({"x", "y"}, {"y"})
    with pytest.raises(CommandImpossible, match="Not blacklisted: x, z"):
        apply_command(lifted, UnblacklistSamples(sample_ids=("x", "y", "z")), step=51, cause="c2", spec=SPEC)
