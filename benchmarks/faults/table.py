"""The table: every figure of aft, fault by fault, and the same figures of the others beside it."""

from collections.abc import Sequence

from benchmarks.faults.figures import (
    FALSE_ALARMS,
    RECALL_MIN,
    Losses,
    Measure,
    fault_measures,
    interval,
    overall_measures,
    recall,
)
from benchmarks.faults.outcome import AFT, Outcome
from benchmarks.faults.rules import Rule
from benchmarks.report import Report, watched


def fill(report: Report, outcomes: Sequence[Outcome], *, faults: Sequence[str], controls: Sequence[str]) -> None:
    """Adds all rows that `outcomes` allow."""
    losses = {
        one.seed: one.loss
        for one in outcomes
        if one.system == Rule.name and one.case == "clean" and one.loss is not None
    }
    systems = list(dict.fromkeys(one.system for one in outcomes))
    for system in systems:
        mine = [one for one in outcomes if one.system == system]
        disturbed = [one for one in mine if one.case in faults]
        quiet = [one for one in mine if one.case in controls]
        if disturbed:
            _overall(report, system, disturbed, losses)
        if quiet and (system == AFT or disturbed):
            _add(report, system, FALSE_ALARMS, quiet, is_goal=system == AFT)
    ours = [one for one in outcomes if one.system == AFT]
    for fault in faults:
        runs = [one for one in ours if one.case == fault]
        for measured in fault_measures(losses) if runs else ():
            _add(report, fault, measured, runs, is_goal=True)
    for control in controls:
        runs = [one for one in ours if one.case == control]
        if runs:
            _add(report, f"control {control}", FALSE_ALARMS, runs, is_goal=False)


def _overall(report: Report, system: str, runs: list[Outcome], losses: Losses) -> None:
    is_goal = system == AFT
    for measured in overall_measures(losses):
        _add(report, system, measured, runs, is_goal=is_goal)
    by_fault = [recall([one for one in runs if one.case == name]) for name in {one.case for one in runs}]
    least = min(value for value in by_fault if value is not None)
    report.add(system, RECALL_MIN if is_goal else watched(RECALL_MIN.name), least)


def _add(report: Report, case: str, measured: Measure, runs: Sequence[Outcome], *, is_goal: bool) -> None:
    """A row, unless there is nothing to compute it from; only ours have a target to reach."""
    value = measured.value(runs)
    if value is not None:
        figure = measured.figure if is_goal else watched(measured.figure.name)
        report.add(case, figure, value, interval(measured.value, runs))
