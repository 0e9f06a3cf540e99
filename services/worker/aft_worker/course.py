"""The part of a schedule that the steps before a given one were trained under."""

from aft_contracts import BlacklistEntry, Schedule


def course_before(schedule: Schedule, step: int) -> Schedule:
    """Only the changes that steps before `step` could feel; states with equal courses are equal states."""
    return Schedule(
        mix=tuple(change for change in schedule.mix if change.step < step),
        blacklist=tuple(_felt_before(step, entry) for entry in schedule.blacklist if _was_felt(entry, step)),
        rates=tuple(change for change in schedule.rates if change.step < step),
        clips=tuple(change for change in schedule.clips if change.step < step),
        skipped_steps=tuple(skipped for skipped in schedule.skipped_steps if skipped < step),
    )


def _was_felt(entry: BlacklistEntry, step: int) -> bool:
    return entry.step < step and entry.until_step != entry.step


def _felt_before(step: int, entry: BlacklistEntry) -> BlacklistEntry:
    """A ban that is lifted later was one without an end until then."""
    is_lifted = entry.until_step is not None and entry.until_step < step
    return entry if is_lifted else entry.model_copy(update={"until_step": None})


def is_ancestor(generation: int, step: int, schedule: Schedule, of_step: int) -> bool:
    """Whether the state of `generation` after `step` steps lies on the way of `schedule` to `of_step`."""
    return any(generation == ancestor and step <= reach for ancestor, reach in schedule.lineage(of_step))
