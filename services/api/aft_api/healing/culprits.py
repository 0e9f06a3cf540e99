"""Culprits: which of several suspects the replays convict, and which to try next."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aft_contracts import Suspect

Group = frozenset[str]
"""Ids of samples that were left in together while the other suspects were masked."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The suspects of one step at which masking all of them helped, and what leaving some of them in did."""

    suspects: tuple[str, ...]
    """All of them, most suspicious first; with all of them in, the fault came back."""
    bad: frozenset[Group]
    """Groups with which it came back."""
    clean: frozenset[Group]
    """Groups with which it did not."""

    @property
    def convicted(self) -> frozenset[Group]:
        """The smallest bad groups: those that hold no smaller one.

        A group whose parts were all clean acts together, and is convicted as it is.
        """
        bad = (self.bad - self.clean) | {frozenset(self.suspects)}
        return frozenset(group for group in bad if not any(other < group for other in bad))

    @property
    def culprits(self) -> frozenset[str]:
        """Everybody in a convicted group."""
        return frozenset().union(*self.convicted)

    def halves(self) -> tuple[tuple[Group, Group], ...]:
        """The halves of each convicted group that was not split yet: to leave in next, each by itself."""
        return tuple(
            pair
            for group in sorted(self.convicted, key=self._place)
            if len(group) > 1 and not {*(pair := self._halves_of(group))} <= self.bad | self.clean
        )

    def _place(self, group: Group) -> int:
        return min(self.suspects.index(one) for one in group)

    def _halves_of(self, group: Group) -> tuple[Group, Group]:
        ordered = [one for one in self.suspects if one in group]
        middle = (len(ordered) + 1) // 2
        return frozenset(ordered[:middle]), frozenset(ordered[middle:])


def trials_by_step(
    suspects: Sequence[Suspect],
    masked: Collection[str],
    cleared: Collection[int],
    left_in: Mapping[Group, Collection[int]],
) -> dict[int, Trials]:
    """The trials of each `cleared` step that has suspects; `left_in` says at which steps each group was bad."""
    found = {}
    for step in sorted(cleared):
        mine = tuple(dict.fromkeys(one.sample_id for one in suspects if one.step == step and one.sample_id in masked))
        bad = {group & {*mine} for group, steps in left_in.items() if step in steps}
        clean = {group & {*mine} for group, steps in left_in.items() if step not in steps}
        if mine:
            found[step] = Trials(suspects=mine, bad=frozenset(bad - {Group()}), clean=frozenset(clean - {Group()}))
    return found
