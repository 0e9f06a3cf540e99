"""The table: every figure of aft, fault by fault, and the same figures of the others beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.faults.case import Case
from benchmarks.faults.cases import CONTROLS, FAULTS, HARD_FAULTS
from benchmarks.faults.figures import FALSE_ALARMS, Losses, Measure, blamed, fault_measures, overall_measures
from benchmarks.faults.intervals import by_seeds
from benchmarks.faults.outcome import AFT, Outcome
from benchmarks.faults.rules import Rule
from benchmarks.report import Bound, Report, at_least, watched


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Outcomes of several systems on the same seeds."""

    outcomes: Sequence[Outcome]
    faults: Sequence[str]
    controls: Sequence[str]
    hard_faults: Sequence[str] = ()
    """Cases that nothing in the run tells from one in order; reported apart."""

    @property
    def losses(self) -> Losses:
        """Final held-out loss of the undisturbed run, by seed."""
        return {one.seed: one.loss for one in self.outcomes if _is_undisturbed(one) and one.loss is not None}

    @property
    def systems(self) -> list[str]:
        """Those that ran disturbed runs, aft first."""
        names = dict.fromkeys(one.system for one in self.outcomes if one.case in self.faults)
        return sorted(names, key=lambda name: name != AFT)

    @property
    def seeds(self) -> list[int]:
        """All seeds that there is an outcome of."""
        return sorted({one.seed for one in self.outcomes})

    def of(self, system: str, cases: Sequence[str]) -> list[Outcome]:
        """A system's outcomes on some cases."""
        return [one for one in self.outcomes if one.system == system and one.case in cases]


def comparison_of(outcomes: Sequence[Outcome]) -> Comparison:
    """The outcomes, with what is a fault and what is a control."""
    return Comparison(
        outcomes=outcomes,
        faults=[case.name for case in FAULTS],
        controls=[case.name for case in CONTROLS],
        hard_faults=[case.name for case in HARD_FAULTS],
    )


def on_common_seeds(comparison: Comparison) -> Comparison:
    """Only the seeds on which every system ran every case that any ran: nobody is measured on easier runs."""
    ours = comparison.systems
    cases = {one.case for one in comparison.outcomes if one.system in ours and not _is_undisturbed(one)}
    known = {(one.system, one.case, one.seed) for one in comparison.outcomes}
    wanted = [(system, case) for system in ours for case in cases]
    seeds = {seed for seed in comparison.losses if all((system, case, seed) in known for system, case in wanted)}
    return replace(comparison, outcomes=[one for one in comparison.outcomes if one.seed in seeds])


def fill(report: Report, given: Comparison) -> None:
    """Adds all rows that the outcomes allow."""
    comparison = on_common_seeds(given)
    left_out = sorted(set(given.seeds) - set(comparison.seeds))
    if left_out:
        report.note(f"Left out, for not every system ran every case: seeds {', '.join(map(str, left_out))}.")
    if not comparison.outcomes:
        return
    for system in comparison.systems:
        _system(report, comparison, system)
    for fault in (*comparison.faults, *comparison.hard_faults):
        runs = comparison.of(AFT, [fault])
        for measured in fault_measures(comparison.losses) if runs else ():
            _add(report, fault, measured, runs, is_goal=fault in comparison.faults)
    for control in comparison.controls:
        runs = comparison.of(AFT, [control])
        if runs:
            _add(report, f"control {control}", FALSE_ALARMS, runs, is_goal=False)
            report.add(f"control {control}", watched("rows_blamed"), sum(len(blamed(one)) for one in runs))
    for system in comparison.systems:
        if system not in (AFT, Rule.name) and AFT in comparison.systems:
            _lead(report, comparison, system)


def columns(losses: Losses) -> tuple[Measure, ...]:
    """The figures of the table in which aft must not be behind anybody: those that have a target."""
    return (*(one for one in overall_measures(losses) if one.figure.target is not None), FALSE_ALARMS)


def lead(measured: Measure, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> float | None:
    """How far aft is ahead in a column, in its unit; None where the other has nothing to compare."""
    our_value, their_value = measured.value(ours), measured.value(theirs)
    if our_value is None or their_value is None:
        return None
    return their_value - our_value if measured.figure.bound is Bound.MAX else our_value - their_value


def _is_undisturbed(outcome: Outcome) -> bool:
    return outcome.system == Rule.name and outcome.case == Case.name


def _system(report: Report, comparison: Comparison, system: str) -> None:
    is_goal = system == AFT
    disturbed, quiet = comparison.of(system, comparison.faults), comparison.of(system, comparison.controls)
    for measured in overall_measures(comparison.losses):
        _add(report, system, measured, disturbed, is_goal=is_goal)
    if not quiet:
        return
    _add(report, system, FALSE_ALARMS, quiet, is_goal=is_goal)
    report.add(system, watched("control_steps"), sum(one.steps for one in quiet))
    report.add(system, watched("control_armed_steps"), sum(one.armed_steps for one in quiet))


def _lead(report: Report, comparison: Comparison, system: str) -> None:
    for measured in columns(comparison.losses):
        cases = comparison.controls if measured is FALSE_ALARMS else comparison.faults
        pair = comparison.of(AFT, cases), comparison.of(system, cases)
        ahead = lead(measured, *pair)
        if ahead is not None:
            figure = at_least(f"{measured.figure.name}_lead", 0)
            report.add(
                f"aft beside {system}", figure, ahead, by_seeds(_lead_of(measured, system), [*pair[0], *pair[1]])
            )


def _lead_of(measured: Measure, system: str) -> Callable[[Sequence[Outcome]], float | None]:
    def value(outcomes: Sequence[Outcome]) -> float | None:
        theirs = [one for one in outcomes if one.system == system]
        return lead(measured, [one for one in outcomes if one.system == AFT], theirs)

    return value


def _add(report: Report, case: str, measured: Measure, runs: Sequence[Outcome], *, is_goal: bool) -> None:
    """A row, unless there is nothing to compute it from; only ours have a target to reach."""
    value = measured.value(runs)
    if value is not None:
        figure = measured.figure if is_goal else watched(measured.figure.name)
        report.add(case, figure, value, measured.interval(runs))
