"""Faults: how well aft finds, explains and heals what goes wrong, beside what others do about the same runs.

A small decoder that was pre-trained on Python's documentation strings is fine-tuned on people's chats for 240 steps,
through a real worker and the real supervisor. Outcomes are kept as they come: a run that is known is not made again
while the code stays the same.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from benchmarks.command import run, say
from benchmarks.faults.base_model import FOLDER, base_model
from benchmarks.faults.case import Case
from benchmarks.faults.controls import CONTROLS
from benchmarks.faults.course_faults import COURSE_FAULTS
from benchmarks.faults.data_faults import DATA_FAULTS
from benchmarks.faults.machinery import Machinery
from benchmarks.faults.outcome import AFT, Outcome, Outcomes, as_rows
from benchmarks.faults.rules import RULES, Rule
from benchmarks.faults.state_faults import STATE_FAULTS
from benchmarks.faults.supervised import Supervised, supervised
from benchmarks.faults.table import fill
from benchmarks.faults.version import code_version, peer_version
from benchmarks.report import Report

FAULTS: tuple[type[Case], ...] = (*DATA_FAULTS, *COURSE_FAULTS, *STATE_FAULTS)
CASES: tuple[type[Case], ...] = (*FAULTS, *CONTROLS)


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Every case and seed under aft, then the same under the rules of others; the table from what is known."""
    jax.config.update("jax_compilation_cache_dir", str(FOLDER / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    base_model()
    cases = [case for case in CASES if not arguments.fault or case.name in arguments.fault]
    first = arguments.first_seed
    seeds = range(first, first + (1 if report.quick else arguments.seeds))
    outcomes = Outcomes(arguments.outcomes)
    machinery = Machinery(code_version())
    if arguments.known:
        made = _known(cases, seeds, outcomes)
    else:
        made = _made(cases, seeds, machinery, outcomes, only_aft=arguments.only_aft)
    fill(report, made, faults=[case.name for case in FAULTS], controls=[case.name for case in CONTROLS])
    counts = {system: len({one.seed for one in made if one.system == system}) for system in _systems()}
    report.note(f"Seeds: {', '.join(f'{system} {count}' for system, count in counts.items())}.")
    report.note(f"Outcomes in {arguments.outcomes}.")
    report.outcomes = as_rows(made)


def _made(
    cases: Sequence[type[Case]], seeds: range, machinery: Machinery, outcomes: Outcomes, *, only_aft: bool
) -> list[Outcome]:
    """All runs: the undisturbed ones first, by which the others are measured, then aft's, then everybody else's."""
    machinery.version = peer_version()
    made = [one for seed in seeds for one in _under_rules(Case, seed, machinery, outcomes)]
    machinery.version = code_version()
    made += asyncio.run(_under_aft(cases, seeds, machinery, outcomes))
    machinery.version = peer_version()
    for seed in seeds if not only_aft else ():
        for case in cases:
            made += _under_rules(case, seed, machinery, outcomes) if case is not Case else []
    return made


def _known(cases: Sequence[type[Case]], seeds: range, outcomes: Outcomes) -> list[Outcome]:
    """What was made before by this code: of each system the seeds of which every case is known."""
    wanted: list[type[Case]] = [Case, *(case for case in cases if case is not Case)]
    versions = {system: code_version() if system == AFT else peer_version() for system in _systems()}
    made = []
    for seed in seeds:
        undisturbed = outcomes.find(Rule.name, Case.name, seed, versions[Rule.name])
        for system in _systems() if undisturbed is not None else ():
            found = [outcomes.find(system, case.name, seed, versions[system]) for case in wanted]
            whole = [one for one in found if one is not None]
            if len(whole) == len(wanted):
                made += whole
            elif system == Rule.name and undisturbed is not None:
                made.append(undisturbed)
    return made


def _systems() -> list[str]:
    return [AFT, *(rule.name for rule in RULES)]


async def _under_aft(
    cases: Sequence[type[Case]], seeds: range, machinery: Machinery, outcomes: Outcomes
) -> list[Outcome]:
    async with supervised(machinery) as here:
        return [await _one_under_aft(case, seed, machinery, outcomes, here) for seed in seeds for case in cases]


async def _one_under_aft(
    case: type[Case], seed: int, machinery: Machinery, outcomes: Outcomes, here: Supervised
) -> Outcome:
    known = outcomes.find(AFT, case.name, seed, machinery.version)
    if known is None:
        known = await here.outcome(case(seed))
        outcomes.add(known)
        _tell(known)
    return known


def _under_rules(case: type[Case], seed: int, machinery: Machinery, outcomes: Outcomes) -> list[Outcome]:
    known = [outcomes.find(rule.name, case.name, seed, machinery.version) for rule in RULES]
    missing = [rule() for rule, outcome in zip(RULES, known, strict=True) if outcome is None]
    made = machinery.under(missing, lambda: case(seed)) if missing else []
    for outcome in made:
        outcomes.add(outcome)
        _tell(outcome)
    return [*(outcome for outcome in known if outcome is not None), *made]


def _tell(outcome: Outcome) -> None:
    loss = "no loss" if outcome.loss is None else f"{outcome.loss:.4f}"
    found = ", ".join(f"{one.verdict} at {one.first_step}" for one in outcome.findings)
    say(
        f"{time.strftime('%H:%M:%S')} {outcome.system}: {outcome.case} seed {outcome.seed}, {loss}, "
        f"first {outcome.first_step}, alarms {list(outcome.alarms)[:8]}, [{found}] {list(outcome.repairs)}, "
        f"{outcome.questions} questions, {outcome.seconds:.1f} s"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark alone can be told."""
    parser.add_argument("--seeds", type=int, default=20, help="runs of each case")
    parser.add_argument("--first-seed", type=int, default=0, help="the seed to begin with")
    parser.add_argument("--fault", action="append", metavar="NAME", help="only this fault or control; may be repeated")
    parser.add_argument("--only-aft", action="store_true", help="leave the rules of others out")
    parser.add_argument("--known", action="store_true", help="make no run: the table of whole seeds made before")
    parser.add_argument(
        "--outcomes", type=Path, default=FOLDER / "outcomes.jsonl", help="where outcomes are kept as they come"
    )


if __name__ == "__main__":
    sys.exit(run("faults", measure, summary=__doc__, add_arguments=add_arguments))
