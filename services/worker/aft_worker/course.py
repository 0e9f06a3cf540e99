"""The part of a schedule that the steps before a given one were trained under."""

from aft_contracts import Schedule


def course_before(schedule: Schedule, step: int) -> Schedule:
    """Only the changes that steps before `step` could feel; states with equal courses are equal states."""
    return Schedule(
        mix=tuple(change for change in schedule.mix if change.step < step),
        blacklist=tuple(entry for entry in schedule.blacklist if entry.step < step),
        rates=tuple(change for change in schedule.rates if change.step < step),
        clips=tuple(change for change in schedule.clips if change.step < step),
        skipped_steps=tuple(skipped for skipped in schedule.skipped_steps if skipped < step),
    )


def is_ancestor(generation: int, step: int, schedule: Schedule, of_step: int) -> bool:
    """Whether the state of `generation` after `step` steps lies on the way of `schedule` to `of_step`."""
    return any(generation == ancestor and step <= reach for ancestor, reach in schedule.lineage(of_step))
