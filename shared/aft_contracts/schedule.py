"""The schedule: every change to a run's course, each with the step from which it holds.

Together with the seed it makes the data plan, the learning rate and the clip pure functions of the step.
"""

from collections.abc import Iterable
from typing import TypeVar

from pydantic import Field

from .contract import Contract


class MixSegment(Contract):
    """Mixture weights of the domains, from `step` until the next segment."""

    step: int = Field(ge=0)
    """First optimizer step that draws with these weights."""
    weights: dict[str, float]
    """Domain name to its share of the rows; shares need not add up to one."""


class BlacklistEntry(Contract):
    """A sample that is not loaded from `step` on, until the ban is lifted."""

    sample_id: str
    """The row's stable id."""
    step: int = Field(ge=0)
    """First optimizer step that must not load it."""
    cause: str
    """Why: the repair or the command that put it here."""
    diagnosis_id: str | None = None
    """The diagnosis whose replays convicted it; null where a human banned it without one."""
    until_step: int | None = Field(default=None, ge=0)
    """First optimizer step that may load it again; null while the ban holds."""

    def holds_at(self, step: int) -> bool:
        """Whether `step` must not load the sample."""
        return self.step <= step and (self.until_step is None or step < self.until_step)


class RateChange(Contract):
    """The learning rate is the spec's curve times `scale`, from `step` on."""

    step: int = Field(ge=0)
    """First optimizer step with the new rate."""
    scale: float = Field(gt=0)
    """Factor on the spec's learning rate, without unit."""
    rewarmup_steps: int = Field(default=0, ge=0)
    """Steps over which the rate climbs linearly to its new value."""


class ClipChange(Contract):
    """Gradients are clipped to `max_norm`, from `step` on."""

    step: int = Field(ge=0)
    """First optimizer step with the new clip."""
    max_norm: float = Field(gt=0)
    """Largest global gradient norm that is let through unscaled."""


class Branch(Contract):
    """A generation of the run: it continues the one before it from `step`."""

    generation: int = Field(ge=1)
    """Number of the new generation."""
    step: int = Field(ge=0)
    """Optimizer step the run was rolled back to."""


class Schedule(Contract):
    """Every change to a run's course; tiny, and stored with each checkpoint."""

    version: int = Field(default=0, ge=0)
    """Counts the changes since the run began."""
    mix: tuple[MixSegment, ...] = ()
    """Mixture segments, oldest first; empty means the spec's weights throughout."""
    blacklist: tuple[BlacklistEntry, ...] = ()
    """Samples that are not loaded; lifted bans stay, for the steps that they held in."""
    rates: tuple[RateChange, ...] = ()
    """Learning-rate changes, oldest first; the last one at or before a step holds."""
    clips: tuple[ClipChange, ...] = ()
    """Clip changes, oldest first; the last one at or before a step holds."""
    skipped_steps: tuple[int, ...] = ()
    """Steps whose batch is consumed but whose update is withheld."""
    branches: tuple[Branch, ...] = ()
    """Rollbacks, oldest first."""

    @property
    def generation(self) -> int:
        """The generation that trains now; 0 before the first rollback."""
        return self.branches[-1].generation if self.branches else 0

    def lineage(self, step: int) -> list[tuple[int, int]]:
        """(generation, last step of it that is an ancestor of `step`), newest generation first."""
        reach, ancestors = step, []
        for branch in reversed(self.branches):
            ancestors.append((branch.generation, reach))
            reach = min(reach, branch.step)
        return [*ancestors, (0, reach)]

    def blacklist_at(self, step: int) -> frozenset[str]:
        """Ids that `step` must not load."""
        return frozenset(entry.sample_id for entry in self.blacklist if entry.holds_at(step))

    @property
    def banned(self) -> frozenset[str]:
        """Ids whose ban was not lifted."""
        return frozenset(entry.sample_id for entry in self.blacklist if entry.until_step is None)

    def rate_change_at(self, step: int) -> RateChange | None:
        """The learning-rate change that holds at `step`; None while the spec's own rate does."""
        return next((change for change in reversed(self.rates) if change.step <= step), None)

    def clip_at(self, step: int) -> float | None:
        """The clip norm that holds at `step`; None while the spec's own does."""
        return next((change.max_norm for change in reversed(self.clips) if change.step <= step), None)

    def armed_from(self, step: int) -> int:
        """The last step up to `step` from which another rate, clip or mix holds; 0 if there is none.

        What was measured before it describes another course: guard and detectors begin anew there. A rollback or a ban
        alone leaves the course, and what is known of it, as it was.
        """
        changes: list[RateChange | ClipChange | MixSegment] = [*self.rates, *self.clips, *self.mix]
        return max((change.step for change in changes if change.step <= step), default=0)

    def with_blacklisted(
        self, sample_ids: Iterable[str], *, step: int, cause: str, diagnosis_id: str | None = None
    ) -> "Schedule":
        """The schedule that also bans `sample_ids` from `step` on; ids already banned keep their entry."""
        fresh = tuple(
            BlacklistEntry(sample_id=sample_id, step=step, cause=cause, diagnosis_id=diagnosis_id)
            for sample_id in dict.fromkeys(sample_ids)
            if sample_id not in self.banned
        )
        return self._next(blacklist=self.blacklist + fresh)

    def with_lifted(self, sample_ids: Iterable[str], *, step: int) -> "Schedule":
        """The schedule that may load `sample_ids` again from `step` on; every other slot keeps its sample."""
        lifted = frozenset(sample_ids)
        return self._next(
            blacklist=tuple(
                entry.model_copy(update={"until_step": max(step, entry.step)})
                if entry.sample_id in lifted and entry.until_step is None
                else entry
                for entry in self.blacklist
            )
        )

    def with_rate(self, scale: float, *, step: int, rewarmup_steps: int = 0) -> "Schedule":
        """The schedule whose learning rate is the spec's times `scale` from `step` on."""
        return self._next(rates=(*self.rates, RateChange(step=step, scale=scale, rewarmup_steps=rewarmup_steps)))

    def with_clip(self, max_norm: float, *, step: int) -> "Schedule":
        """The schedule that clips to `max_norm` from `step` on."""
        return self._next(clips=(*self.clips, ClipChange(step=step, max_norm=max_norm)))

    def with_mix(self, weights: dict[str, float], *, step: int) -> "Schedule":
        """The schedule that draws with `weights` from `step` on."""
        return self._next(mix=(*self.mix, MixSegment(step=step, weights=weights)))

    def with_skipped(self, step: int) -> "Schedule":
        """The schedule that withholds the update of `step`."""
        return self._next(skipped_steps=tuple(sorted({*self.skipped_steps, step})))

    def rolled_back(self, step: int) -> "Schedule":
        """The schedule of a new generation from `step`; changes made after `step` hold from `step` on."""
        return self._next(
            mix=tuple(_not_after(step, change) for change in self.mix),
            blacklist=tuple(_not_after(step, entry) for entry in self.blacklist),
            rates=tuple(_not_after(step, change) for change in self.rates),
            clips=tuple(_not_after(step, change) for change in self.clips),
            branches=(*self.branches, Branch(generation=self.generation + 1, step=step)),
        )

    def _next(self, **changes: object) -> "Schedule":
        return self.model_copy(update={**changes, "version": self.version + 1})


_Change = TypeVar("_Change", MixSegment, BlacklistEntry, RateChange, ClipChange)


def _not_after(step: int, change: _Change) -> _Change:
    changed = change if change.step <= step else change.model_copy(update={"step": step})
    if isinstance(changed, BlacklistEntry) and changed.until_step is not None and changed.until_step > step:
        return changed.model_copy(update={"until_step": step})
    return changed
