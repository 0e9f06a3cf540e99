"""Tables: published outcomes as the Markdown of docs/HEALING.md.

`python -m benchmarks.faults.tables FILE… [--into docs/HEALING.md]` prints the tables, or writes them between the marks.
"""

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.figures import (
    FALSE_ALARMS,
    banned,
    before_harm,
    blamed,
    detected,
    ended,
    innocent_bans,
    is_healed,
    latency_median,
    overall_measures,
    recall_min,
    right_verdict,
    verdicts,
    windows_lost,
)
from benchmarks.faults.intervals import Interval
from benchmarks.faults.outcome import AFT, Outcome, read_outcomes
from benchmarks.faults.rules import Rule
from benchmarks.faults.table import Comparison, comparison_of, on_common_seeds
from benchmarks.report import Bound, Figure

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PUBLISHED = Path(__file__).resolve().parent / "published"
FAULT_HEADINGS = (
    "fault",
    "found in 32 steps",
    "steps to the alarm",
    "diagnosed as",
    "always right",
    "rows blamed rightly",
    "wrongly",
    "rows banned",
    "healed",
    "loss ÷ undisturbed",
    "without supervision",
    "windows lost",
    "questions",
)
CONTROL_HEADINGS = (
    "control",
    "runs",
    "steps",
    "with all detectors armed",
    "alarms",
    "rows blamed",
    "rows banned",
    "loss ÷ undisturbed",
)
SYSTEM_HEADINGS = (
    "system",
    "found in 32 steps",
    "least of a fault",
    "median steps to the alarm",
    "healed",
    "ended, so not healed",
    "false alarms on controls, in armed steps",
    "alarms before the fault",
    "questions",
    "innocent rows banned",
    "steps lost and replayed",
)
NONE_YET = "No outcomes are published of this version of the benchmark."


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.tables", description=__doc__)
    parser.add_argument("outcomes", type=Path, nargs="*", help="files of outcomes; those in published/ unless given")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="write the tables between the marks of this page")
    arguments = parser.parse_args()
    text = tables(arguments.outcomes or published())
    if arguments.into is None:
        sys.stdout.write(text)
    else:
        arguments.into.write_text(with_tables(arguments.into.read_text(), text))


def published() -> list[Path]:
    """The files that are committed."""
    return sorted(PUBLISHED.glob("*.jsonl"))


def with_tables(page: str, text: str) -> str:
    """The page with `text` between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert tail, f"the page has no {BEGIN} … {END}"
    return f"{head}{BEGIN}\n{text}{END}{tail}"


def tables(paths: Sequence[Path]) -> str:
    """All tables, as Markdown."""
    outcomes = [outcome for path in paths for outcome in read_outcomes(path)]
    comparison = on_common_seeds(comparison_of(outcomes))
    if not comparison.of(AFT, comparison.faults):
        return f"{NONE_YET}\n"
    parts = [_heading(comparison), _totals(comparison), _faults(comparison), _controls(comparison)]
    return "\n".join([*parts, _systems(comparison), _healed_by_fault(comparison)])


def _heading(comparison: Comparison) -> str:
    versions = Counter(one.version for one in comparison.outcomes if one.system == AFT)
    seeds = comparison.seeds
    shown = f"{seeds[0]} to {seeds[-1]}" if seeds == [*range(seeds[0], seeds[-1] + 1)] else ", ".join(map(str, seeds))
    runs = len(comparison.of(AFT, comparison.faults))
    return f"{len(seeds)} seeds ({shown}), {runs} disturbed runs of aft, code {', '.join(versions)}.\n"


def _totals(comparison: Comparison) -> str:
    ours, quiet = comparison.of(AFT, comparison.faults), comparison.of(AFT, comparison.controls)
    measured = [(one, ours) for one in overall_measures(comparison.losses)]
    measured += [(FALSE_ALARMS, quiet)] if quiet else []
    rows = []
    for measure, runs in measured:
        value = measure.value(runs)
        if value is not None:
            met = {None: "", True: "yes", False: "**no**"}[measure.figure.is_met_by(value)]
            interval = _interval(measure.interval(runs))
            rows.append([f"`{measure.figure.name}`", _short(value), interval, _target(measure.figure), met])
    return _table(["aft, all faults", "value", "95 %", "must reach", "reached"], rows)


def _faults(comparison: Comparison) -> str:
    rows = []
    for fault in (*comparison.faults, *comparison.hard_faults):
        runs = comparison.of(AFT, [fault])
        if runs:
            apart = "" if fault in comparison.faults else ", not in the totals"
            rows.append([f"`{fault}`{apart}", *_fault(comparison, runs, comparison.of(Rule.name, [fault]))])
    return _table(FAULT_HEADINGS, rows)


def _fault(comparison: Comparison, runs: Sequence[Outcome], alone: Sequence[Outcome]) -> list[str]:
    classes = Counter(verdict for one in runs for verdict in verdicts(one))
    harmful = sum(len(one.culprits) for one in runs)
    rightly = sum(culprit in one.culprits for one in runs for culprit in blamed(one))
    wrongly = sum(culprit not in one.culprits for one in runs for culprit in blamed(one))
    return [
        _of([detected(one) for one in runs]),
        _maybe(latency_median(runs)),
        ", ".join(f"{verdict} {count}" for verdict, count in classes.most_common()) or "nothing",
        _of([right_verdict(one) for one in runs]),
        f"{rightly} of {harmful}" if harmful else "",
        str(wrongly),
        str(sum(len(banned(one)) for one in runs)),
        _of([is_healed(one, comparison.losses) for one in runs]),
        _ratios(comparison, runs),
        _ratios(comparison, alone),
        _maybe(windows_lost(runs)),
        str(sum(one.questions for one in runs)),
    ]


def _controls(comparison: Comparison) -> str:
    rows = []
    for control in comparison.controls:
        runs = comparison.of(AFT, [control])
        if runs:
            steps, armed = sum(one.steps for one in runs), sum(one.armed_steps for one in runs)
            counts = (str(len(runs)), f"{steps:,}", f"{armed:,}", str(sum(len(one.alarms) for one in runs)))
            same_course = control in {"clean", "rare_rows", "hard_rare_rows"}
            ratios = _ratios(comparison, runs) if same_course else ""
            rows_named = [str(sum(len(which(one)) for one in runs)) for which in (blamed, banned)]
            rows.append([f"`{control}`", *counts, *rows_named, ratios])
    return _table(CONTROL_HEADINGS, rows)


def _systems(comparison: Comparison) -> str:
    rows = []
    for system in comparison.systems:
        runs, quiet = comparison.of(system, comparison.faults), comparison.of(system, comparison.controls)
        early = sum(len(before_harm(one)) for one in runs)
        again = sum(one.replayed_steps + sum(incident.lost_steps for incident in one.incidents) for one in runs)
        rows.append(
            [
                system,
                _of([detected(one) for one in runs]),
                _maybe(recall_min(runs)),
                _maybe(latency_median(runs)),
                _of([is_healed(one, comparison.losses) for one in runs]),
                str(round((ended(runs) or 0) * len(runs))),
                f"{sum(len(one.alarms) for one in quiet)} in {sum(one.armed_steps for one in quiet):,}",
                f"{early} in {sum(one.armed_before for one in runs):,}",
                str(sum(one.questions for one in runs)),
                _maybe(innocent_bans(runs)),
                f"{again:,}",
            ]
        )
    return _table(SYSTEM_HEADINGS, rows)


def _healed_by_fault(comparison: Comparison) -> str:
    rows = []
    for fault in comparison.faults:
        runs = {system: comparison.of(system, [fault]) for system in comparison.systems}
        if any(runs.values()):
            cells = [
                f"{sum(map(detected, mine))} / {sum(is_healed(one, comparison.losses) for one in mine)}"
                for mine in runs.values()
            ]
            rows.append([f"`{fault}`", *cells])
    return _table(["found / healed", *comparison.systems], rows)


def _ratios(comparison: Comparison, runs: Sequence[Outcome]) -> str:
    """Median final loss over the undisturbed run's, and the worst."""
    known = [one.loss / comparison.losses[one.seed] for one in runs if one.loss is not None]
    lost = len(runs) - len(known)
    shown = f"{statistics.median(known):.3f}, at most {max(known):.3f}" if known else ""
    return ", ".join(part for part in (shown, f"{lost} without a loss" if lost else "") if part)


def _of(hits: Sequence[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}"


def _maybe(value: float | None) -> str:
    return "" if value is None else _short(value)


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return f"{'≤' if figure.bound is Bound.MAX else '≥'} {_short(figure.target)}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else " to ".join(map(_short, interval))


def _short(value: float) -> str:
    return f"{value:.3g}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
