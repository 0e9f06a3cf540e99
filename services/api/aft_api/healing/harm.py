"""Harm: whether later rows are better off without a suspect, and more so than without an ordinary row."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from aft_api.healing.replay import AS_IT_WAS, WITHOUT_SUSPECTS
from aft_contracts import AnalysisSpec, RepairPolicy, Replay, ReplayVariant, SampleRecord

APPLIED = "applied"
"""Variant in which every finite update is applied, whatever the guard made of it."""

WITHOUT = "without:"
"""Prefix of a variant like it in which the rows of one charge, whose number follows, are left out."""

PLACEBO = "placebo:"
"""Prefix of a variant in which as many ordinary rows are left out; their step and a number follow."""

PLACEBOS = 3
"""Variants in which ordinary rows are left out, for each step of a charge."""

FEWEST_IN_A_TRIAL = 2 + PLACEBOS
"""Replays that it takes to try one charge."""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Samples that caused an alarm at a step, and may have done harm there."""

    step: int
    sample_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A replay that measures harm, and whose."""

    charges: tuple[Charge, ...]
    asked: AnalysisSpec


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What leaving the rows of a charge out did for later rows."""

    charge: Charge
    gain_nats: float
    """How much lower the later rows' mean loss was without them; infinite where no loss was left with them."""
    placebo_nats: float
    """The same with ordinary rows left out in their place: those without which it was lowest."""
    z: float
    """Standard errors, over the later rows, that the first of these stands above the second."""
    rows: int
    """Later rows that were compared."""
    is_proven: bool

    @property
    def in_words(self) -> str:
        """What was measured, and whether it proves anything."""
        who = ", ".join(self.charge.sample_ids)
        if not self.rows:
            return f"No later row can be compared with and without {who}."
        if math.isinf(self.gain_nats):
            return f"With {who} applied, later rows have no finite loss; without, they have."
        judged = "harm" if self.is_proven else "no proof of harm"
        return (
            f"Without {who} the mean loss of {self.rows} later rows is {1e3 * self.gain_nats:.2g} mnats lower, and "
            f"without ordinary rows {1e3 * self.placebo_nats:.2g}, {self.z:.1f} standard errors apart: {judged}."
        )


def plan_trial(
    asked: AnalysisSpec,
    charges: Sequence[Charge],
    replays: Sequence[Replay],
    policy: RepairPolicy,
    *,
    replays_left: int,
) -> Trial | None:
    """The replays that measure what each charge's rows do to those of the next `harm_steps` steps.

    All of them apply what the guard withheld. Each charge is tried by itself where `replays_left` allows it, and
    otherwise with the others of its step; steps for which there is no room even so are not tried. None where nobody
    can be, for want of replays or of ordinary rows.
    """
    fitting = _fitting(charges, replays, replays_left)
    if not fitting:
        return None
    variants = [ReplayVariant(name=APPLIED, unguarded=True)]
    variants += [
        ReplayVariant(name=f"{WITHOUT}{number}", masked_sample_ids=charge.sample_ids, unguarded=True)
        for number, charge in enumerate(fitting)
    ]
    variants += [
        ReplayVariant(name=f"{PLACEBO}{step}.{number}", masked_sample_ids=rows, unguarded=True)
        for step, placebos in _placebos(fitting, replays).items()
        for number, rows in enumerate(placebos)
    ]
    steps = [charge.step for charge in fitting]
    changes = {
        "analysis_id": f"{asked.analysis_id}:harm",
        "start_step": min(steps),
        "end_step": max(steps) + 1 + policy.harm_steps,
        "variants": tuple(variants),
    }
    return Trial(charges=tuple(fitting), asked=asked.model_copy(update=changes))


def weigh(trial: Trial, replays: Sequence[Replay], policy: RepairPolicy) -> tuple[Harm, ...]:
    """The harm of each charge of `trial`.

    For each of the n rows of the later steps, c = its loss without ordinary rows - its loss without the charge's, of
    several placebos that which helped most: the same row at the same step, so all that is left to chance is which rows
    came. Harm is proven where mean(c) reaches `harm_nats` and mean(c) / (sd(c) / sqrt(n)) reaches `harm_z`. The update
    is what is tried; that a row's own loss is high, and gone when the row is, says nothing.
    """
    return tuple(_weighed(number, charge, trial, replays, policy) for number, charge in enumerate(trial.charges))


FLOOR_NATS = 1e-6
"""Smallest spread of differences that is believed: losses are single floats."""


def _weighed(number: int, charge: Charge, trial: Trial, replays: Sequence[Replay], policy: RepairPolicy) -> Harm:
    charged = frozenset(one for other in trial.charges for one in other.sample_ids)
    with_it, without = (_later(_named(name, replays), charge.step) for name in (APPLIED, f"{WITHOUT}{number}"))
    placebos = [_later(replay, charge.step) for replay in replays if replay.name.startswith(f"{PLACEBO}{charge.step}.")]
    rows = [
        row
        for row, loss in without.items()
        if row[1] not in charged and row in with_it and all(row in one for one in placebos) and math.isfinite(loss)
    ]
    if len(rows) < 2 or not placebos:
        return Harm(charge=charge, gain_nats=0.0, placebo_nats=0.0, z=0.0, rows=0, is_proven=False)
    if not all(math.isfinite(with_it[row]) for row in rows):
        return Harm(charge=charge, gain_nats=math.inf, placebo_nats=0.0, z=math.inf, rows=len(rows), is_proven=True)
    best = min(placebos, key=lambda placebo: statistics.fmean(placebo[row] for row in rows))
    excess = [best[row] - without[row] for row in rows]
    z = statistics.fmean(excess) * math.sqrt(len(rows)) / max(statistics.stdev(excess), FLOOR_NATS)
    return Harm(
        charge=charge,
        gain_nats=statistics.fmean(with_it[row] - without[row] for row in rows),
        placebo_nats=statistics.fmean(with_it[row] - best[row] for row in rows),
        z=z,
        rows=len(rows),
        is_proven=statistics.fmean(excess) >= policy.harm_nats and z >= policy.harm_z,
    )


def _later(replay: Replay, step: int) -> dict[tuple[int, str], float]:
    """Losses of the rows that were trained on after `step`."""
    return {
        (later.step, sample.sample_id): sample.loss
        for later in replay.steps
        if later.step > step
        for sample in later.samples
        if sample.tokens > 0
    }


def _named(name: str, replays: Sequence[Replay]) -> Replay:
    return next(replay for replay in replays if replay.name == name)


def _fitting(charges: Sequence[Charge], replays: Sequence[Replay], replays_left: int) -> list[Charge]:
    """Charges for whose trial there are replays enough: each by itself, or else whole steps, as many as there are."""
    for candidates in (list(charges), _by_step(charges)):
        able = [charge for charge in candidates if charge.step in _placebos(candidates, replays)]
        if _cost(able) <= replays_left:
            return able
    while able and _cost(able) > replays_left:
        able.pop()
    return able


def _cost(charges: Sequence[Charge]) -> int:
    return 1 + len(charges) + PLACEBOS * len({charge.step for charge in charges})


def _by_step(charges: Sequence[Charge]) -> list[Charge]:
    rows: dict[int, list[str]] = {}
    for charge in charges:
        rows.setdefault(charge.step, []).extend(charge.sample_ids)
    return [Charge(step=step, sample_ids=tuple(ids)) for step, ids in rows.items()]


def _placebos(charges: Sequence[Charge], replays: Sequence[Replay]) -> dict[int, list[tuple[str, ...]]]:
    """For each charged step up to `PLACEBOS` groups of rows that nobody suspects, as many and as long as those charged.

    A step whose ordinary rows make no whole group has none.
    """
    suspected = {one for replay in replays if replay.name == WITHOUT_SUSPECTS for one in replay.masked_sample_ids}
    found: dict[int, list[tuple[str, ...]]] = {}
    for charge in charges:
        samples = _samples_at(charge.step, _named(AS_IT_WAS, replays))
        tokens = max((one.tokens for one in samples if one.sample_id in charge.sample_ids), default=0)
        ordinary = [one for one in samples if one.sample_id not in suspected and one.tokens > 0]
        ordinary.sort(key=lambda one: (abs(one.tokens - tokens), one.sample_id))
        size = len(charge.sample_ids)
        ids = [one.sample_id for one in ordinary]
        groups = [tuple(ids[start : start + size]) for start in range(0, len(ids) - size + 1, size)][:PLACEBOS]
        if groups:
            found.setdefault(charge.step, groups)
    return found


def _samples_at(step: int, replay: Replay) -> tuple[SampleRecord, ...]:
    return next((one.samples for one in replay.steps if one.step == step), ())
