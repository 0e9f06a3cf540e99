"""Making: the runs that are wanted and not known yet, in one process or several."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import quieten, say
from benchmarks.faults.case import Case
from benchmarks.faults.cases import case_named
from benchmarks.faults.compiled import keep_compiled
from benchmarks.faults.machinery import Machinery
from benchmarks.faults.outcome import AFT, Outcome, Outcomes
from benchmarks.faults.rules import RULES, Rule
from benchmarks.faults.supervised import Supervised, supervised
from benchmarks.faults.version import code_version, peer_version


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which runs are wanted; what a process of its own is given."""

    cases: tuple[str, ...]
    seeds: tuple[int, ...]
    outcomes: Path
    only_aft: bool


def make_in(jobs: int, asked: Asked) -> None:
    """Make what is missing; several processes share the seeds and the cores.

    Raises:
        RuntimeError: one of them broke off.
    """
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
    outcomes = Outcomes(asked.outcomes)
    if not all(outcomes.find(*one) for one in _wanted(asked)):
        keep_compiled()
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


def known_outcomes(asked: Asked) -> list[Outcome]:
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
