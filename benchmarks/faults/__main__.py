"""Faults: how well aft finds, explains and heals what goes wrong, beside what others do about the same runs.

A small decoder that was pre-trained on Python's documentation strings is fine-tuned on people's chats for 240 steps,
through a real worker and the real supervisor. Outcomes are kept as they come: a run that is known is not made again
while the code stays the same.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import quieten, run, say
from benchmarks.faults.base_model import FOLDER, base_model
from benchmarks.faults.case import Case
from benchmarks.faults.cases import CASES, CONTROLS, FAULTS, HARD_CONTROLS, case_named
from benchmarks.faults.compiled import keep_compiled
from benchmarks.faults.machinery import Machinery
from benchmarks.faults.outcome import AFT, Outcome, Outcomes, as_json, publish
from benchmarks.faults.rules import RULES, Rule
from benchmarks.faults.supervised import Supervised, supervised
from benchmarks.faults.table import Comparison, fill, on_common_seeds
from benchmarks.faults.version import code_version, peer_version
from benchmarks.report import Report

FIRST_SEED = 100
"""Thresholds were chosen on seeds below: what is published is of seeds that nobody had looked at."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which runs are wanted; what a process of its own is given."""

    cases: tuple[str, ...]
    seeds: tuple[int, ...]
    outcomes: Path
    only_aft: bool


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Every case and seed under aft and under the rules of others; the table from what is known then."""
    cases = tuple(case.name for case in CASES if not arguments.fault or case.name in arguments.fault)
    first = arguments.first_seed
    seeds = tuple(range(first, first + (1 if report.quick else arguments.seeds)))
    asked = Asked(cases=cases, seeds=seeds, outcomes=arguments.outcomes, only_aft=arguments.only_aft)
    if not arguments.known:
        _make_in(arguments.jobs, asked)
    known = comparison_of(_known(asked))
    fill(report, known)
    report.note(f"Seeds: {', '.join(map(str, on_common_seeds(known).seeds)) or 'none'}.")
    report.note(f"Outcomes in {arguments.outcomes}.")
    report.outcomes = [as_json(outcome) for outcome in known.outcomes]
    if arguments.publish is not None:
        publish(arguments.publish, on_common_seeds(known).outcomes)


def comparison_of(outcomes: Sequence[Outcome]) -> Comparison:
    """The outcomes, with what is a fault and what is a control."""
    return Comparison(
        outcomes=outcomes,
        faults=[case.name for case in FAULTS],
        controls=[case.name for case in CONTROLS],
        hard_controls=[case.name for case in HARD_CONTROLS],
    )


def _make_in(jobs: int, asked: Asked) -> None:
    """Makes what is missing; several processes share the seeds and the cores."""
    base_model()
    if jobs == 1:
        _make(asked)
        return
    spawning = multiprocessing.get_context("spawn")
    shares = [Asked(**vars(asked) | {"seeds": asked.seeds[job::jobs]}) for job in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    processes = [
        spawning.Process(target=_make_on, args=(cores[job::jobs] or cores, share)) for job, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("A process broke off; what it had made is kept. Start again to go on.")


def _make_on(cores: Sequence[int], asked: Asked) -> None:
    # Before JAX makes its threads: two processes that share all cores wait for each other's.
    os.sched_setaffinity(0, cores)
    quieten()
    _make(asked)


def _make(asked: Asked) -> None:
    keep_compiled()
    outcomes = Outcomes(asked.outcomes)
    if not all(outcomes.find(*one) for one in _wanted(asked)):
        asyncio.run(_make_seeds(asked, Machinery(), outcomes))


async def _make_seeds(asked: Asked, machinery: Machinery, outcomes: Outcomes) -> None:
    """Seed by seed: aft's runs, then everybody else's, of which the undisturbed one is what all are measured by."""
    cases = [case_named(name) for name in asked.cases]
    async with supervised(machinery) as here:
        for seed in asked.seeds:
            for case in cases:
                if outcomes.find(AFT, case.name, seed, code_version()) is None:
                    await _one_under_aft(case(seed), outcomes, here)
            for case in dict.fromkeys((Case, *(() if asked.only_aft else cases))):
                await asyncio.to_thread(_under_rules, case, seed, machinery, outcomes)


async def _one_under_aft(case: Case, outcomes: Outcomes, here: Supervised) -> None:
    outcome = await here.outcome(case)
    outcomes.add(outcome)
    _tell(outcome)


def _under_rules(case: type[Case], seed: int, machinery: Machinery, outcomes: Outcomes) -> None:
    missing = [rule() for rule in RULES if outcomes.find(rule.name, case.name, seed, peer_version()) is None]
    for outcome in machinery.under(missing, lambda: case(seed)) if missing else ():
        outcomes.add(outcome)
        _tell(outcome)


def _known(asked: Asked) -> list[Outcome]:
    """What was made by this code, of the runs asked for and of the undisturbed ones."""
    outcomes = Outcomes(asked.outcomes)
    found = [outcomes.find(*one) for one in _wanted(asked)]
    return [one for one in found if one is not None]


def _wanted(asked: Asked) -> list[tuple[str, str, int, str]]:
    """System, case, seed and version of every outcome that is asked for."""
    systems = {AFT: code_version()} if asked.only_aft else _systems()
    undisturbed = [(Rule.name, Case.name, seed, peer_version()) for seed in asked.seeds]
    runs = [
        (system, case, seed, version)
        for seed in asked.seeds
        for system, version in systems.items()
        for case in asked.cases
    ]
    return [*dict.fromkeys([*undisturbed, *runs])]


def _systems() -> dict[str, str]:
    """Names, and the version of the code that their outcomes must be of."""
    return {AFT: code_version()} | {rule.name: peer_version() for rule in RULES}


def _tell(outcome: Outcome) -> None:
    loss = "no loss" if outcome.loss is None else f"{outcome.loss:.4f}"
    found = ", ".join(f"{one.verdict} at {one.first_step}" for one in outcome.findings)
    alarms = [(alarm.step, alarm.after, alarm.kind) for alarm in outcome.alarms[:8]]
    repairs = [incident.repairs for incident in outcome.incidents]
    say(
        f"{time.strftime('%H:%M:%S')} {outcome.system}: {outcome.case} seed {outcome.seed}, {loss}, "
        f"first {outcome.first_step}, {len(outcome.alarms)} alarms {alarms}, [{found}] {repairs}, "
        f"{outcome.questions} questions, {outcome.seconds:.1f} s"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark alone can be told."""
    parser.add_argument("--seeds", type=int, default=20, help="runs of each case")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="the seed to begin with")
    parser.add_argument("--fault", action="append", metavar="NAME", help="only this fault or control; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds and the cores")
    parser.add_argument("--only-aft", action="store_true", help="leave the rules of others out")
    parser.add_argument("--known", action="store_true", help="make no run: the table of what was made before")
    parser.add_argument("--publish", type=Path, metavar="FILE", help="write the outcomes of whole seeds to FILE")
    parser.add_argument(
        "--outcomes", type=Path, default=FOLDER / "runs.jsonl", help="where outcomes are kept as they come"
    )


if __name__ == "__main__":
    sys.exit(run("faults", measure, summary=__doc__, add_arguments=add_arguments))
