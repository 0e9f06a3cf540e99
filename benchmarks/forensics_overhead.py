"""What every sample's loss and gradient norm cost: time and memory of a step with them ÷ the same step without.

The baseline is aft's own step whose per-sample figures nobody reads, so that XLA leaves them out: the update is the
same to the last bit. It is compiled twice, as `without` (nothing per sample) and as `without_norms`, and the better one
counts, in time and in memory each: XLA's schedule differs with what is asked for, by more than the figures cost. For
information, three steps that others would write: with every weight gradient as one product (`one_product`), plain
autodiff, and `vmap(grad)`, the textbook form.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from aft_worker.trainer import Trainer
from benchmarks import programs
from benchmarks.command import run, say
from benchmarks.pairs import Timings, interleaved, stopwatch
from benchmarks.programs import Program, Step
from benchmarks.report import Figure, Report, at_most, watched
from benchmarks.runs import open_trainer

TIME = at_most("time_ratio", 1.05)
MEMORY = at_most("memory_ratio", 1.05)
MEMORY_VS_VMAP = at_most("memory_vs_vmap", 0.6)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, how it is trained, and the shape of its batch."""

    model: str
    lora: bool
    batch_size: int
    length: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.model} {'LoRA' if self.lora else 'full'} B={self.batch_size} T={self.length}"


CASES = [
    Case(model=model, lora=lora, batch_size=batch_size, length=length, rounds=rounds)
    for model, batch_size, length, rounds in [
        ("d256", 8, 128, 15),
        ("d256", 32, 64, 9),
        ("d256", 8, 512, 7),
        ("d576", 8, 128, 7),
    ]
    for lora in (False, True)
]
QUICK = [Case(model="tiny", lora=False, batch_size=3, length=37, rounds=2)]
BASELINES = ("without", "without_norms")
VMAP_BATCH_SIZE = 32
"""`vmap(grad)` is compared at this batch size."""


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Measures every case that is asked for."""
    for case in QUICK if report.quick else [case for case in CASES if arguments.case in str(case)]:
        say(str(case))
        _measure_case(report, case)
    report.note("time_vs_… and memory_vs_…: aft's step with all its figures ÷ a step that others would write.")


def _measure_case(report: Report, case: Case) -> None:
    trainer = open_trainer(case.model, batch_size=case.batch_size, length=case.length, lora=case.lora)
    arms = {name: programs.compiled(trainer, form(trainer)) for name, form in _forms(report, case).items()}
    refuse_another_update(*(arms[name] for name in ("with", *BASELINES)))
    timings = interleaved({name: stopwatch(program) for name, program in arms.items()}, rounds=case.rounds, warm_ups=1)
    report.keep(str(case), timings.seconds)
    report.keep(str(case), {f"{name} temporary bytes": [program.temporary_bytes] for name, program in arms.items()})
    quickest = min(BASELINES, key=timings.median)
    leanest = min(BASELINES, key=lambda name: arms[name].temporary_bytes)
    _compare(report, case, timings, arms, (TIME, quickest), (MEMORY, leanest))
    for name in arms:
        if name not in ("with", *BASELINES):
            memory = MEMORY_VS_VMAP if name == "vmap" else watched(f"memory_vs_{name}")
            _compare(report, case, timings, arms, (watched(f"time_vs_{name}"), name), (memory, name))
    report.add(str(case), watched("step_s"), timings.median("with"))


def _forms(report: Report, case: Case) -> dict[str, Callable[[Trainer], Step]]:
    forms: dict[str, Callable[[Trainer], Step]] = {
        "with": programs.with_figures,
        "without": programs.without_figures,
        "without_norms": programs.without_norms,
        "autodiff": programs.by_autodiff,
    }
    if not case.lora:
        forms["one_product"] = programs.without_figures_in_one_product
    if case.batch_size == VMAP_BATCH_SIZE or report.quick:
        forms["vmap"] = programs.by_vmap
    return forms


def _compare(
    report: Report,
    case: Case,
    timings: Timings,
    arms: dict[str, Program],
    time: tuple[Figure, str],
    memory: tuple[Figure, str],
) -> None:
    """Adds two figures, each of aft's step ÷ the arm that is named with it."""
    ratio = timings.ratio("with", over=time[1])
    report.add(str(case), time[0], ratio.median, ratio.interval)
    report.add(str(case), memory[0], arms["with"].temporary_bytes / arms[memory[1]].temporary_bytes)


def refuse_another_update(one: Program, *others: Program) -> None:
    """Takes one step with each from equal states.

    Raises:
        AssertionError: a trained weight differs in a bit, so they are not the same step.
    """
    for program in (one, *others):
        program()
    for other in others:
        for left, right in zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True):
            np.testing.assert_array_equal(left, right)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark can be told."""
    parser.add_argument("--case", default="", help="only cases whose name has this in it, such as 'LoRA B=32'")


if __name__ == "__main__":
    sys.exit(run("forensics_overhead", measure, summary=__doc__, add_arguments=add_arguments))
