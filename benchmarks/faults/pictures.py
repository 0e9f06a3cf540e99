"""Pictures of docs/HEALING.md: a healed run beside the same run unsupervised and clean, and a verdict by replay.

`python -m benchmarks.faults.pictures docs/images` makes the runs and draws them.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from aft_contracts import DiagnosisReport, StepRecord
from benchmarks.faults.case import Case
from benchmarks.faults.compiled import keep_compiled
from benchmarks.faults.data_faults import Garbage
from benchmarks.faults.machinery import Machinery
from benchmarks.faults.rules import Rule
from benchmarks.faults.state_faults import CorruptedMoments
from benchmarks.faults.supervised import Supervised, supervised

SEED = 0
SMOOTH_STEPS = 5
INK, FAINT, BAD, GOOD = "#1b1f24", "#8b949e", "#d1242f", "#1a7f37"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is to be seen of a run under aft."""

    generations: Sequence[Sequence[tuple[int, float]]]
    """(step, loss) of all steps trained, generation by generation."""
    diagnoses: Sequence[DiagnosisReport]
    steps: Mapping[int, StepRecord]
    """The first record of each step."""


def main(folder: Path) -> None:
    """Make the runs and write both pictures."""
    keep_compiled()
    machinery = Machinery()
    clean, alone = (
        [reading.loss for reading in machinery.trained(Rule(), case).readings]
        for case in (Case(SEED), CorruptedMoments(SEED))
    )
    damaged, poisoned = asyncio.run(_under_aft(machinery, CorruptedMoments(SEED), Garbage(SEED)))
    folder.mkdir(parents=True, exist_ok=True)
    _write(_healed(clean, alone, damaged, CorruptedMoments(SEED)), folder / "healed.png")
    _write(_verdict(poisoned), folder / "verdict.png")


async def _under_aft(machinery: Machinery, *cases: Case) -> list[Seen]:
    async with supervised(machinery) as here:
        return [await _seen(here, case) for case in cases]


async def _seen(here: Supervised, case: Case) -> Seen:
    run_id, _ = await here.run(case)
    windows = (await here.get(f"/runs/{run_id}/windows"))["windows"]
    reports = (await here.get(f"/runs/{run_id}/diagnoses"))["diagnoses"]
    generations: dict[int, list[tuple[int, float]]] = {}
    steps: dict[int, StepRecord] = {}
    for window in windows:
        for recorded in window["result"]["metrics"]["steps"]:
            step = StepRecord.model_validate(recorded)
            generations.setdefault(window["generation"], []).append((step.step, step.loss))
            steps.setdefault(step.step, step)
    return Seen(
        generations=list(generations.values()),
        diagnoses=[DiagnosisReport.model_validate(report) for report in reports],
        steps=steps,
    )


def _healed(clean: Sequence[float], alone: Sequence[float], seen: Seen, case: Case) -> Figure:
    figure, axes = _drawing()
    axes.plot(*_smoothed(list(enumerate(alone))), color=BAD, linewidth=1.4, label="unsupervised")
    for number, steps in enumerate(seen.generations):
        axes.plot(*_smoothed(steps), color=GOOD, linewidth=2.4, label="under aft" if number == 0 else None)
        if number:
            axes.plot(steps[0][0], steps[0][1], "o", color=GOOD, markersize=7)
    axes.plot(*_smoothed(list(enumerate(clean))), color=INK, linewidth=1.0, label="undisturbed")
    axes.axvline(case.first_step, color=FAINT, linewidth=0.8, linestyle=":")
    axes.annotate("fault ", (case.first_step, 0.02), xycoords=("data", "axes fraction"), color=FAINT, ha="right")
    axes.set_title(
        f"Second moments lost at step {case.first_step}: verdict {seen.diagnoses[0].verdict}, "
        f"back to step {seen.generations[1][0][0]}, and on",
        loc="left", color=INK, fontsize=11,
    )  # fmt: skip
    axes.set_ylabel(f"training loss, nats per token, mean of {SMOOTH_STEPS} steps", color=INK)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([3, 5, 10, 20, 50, 100]))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, loc="upper left")
    return figure


def _verdict(seen: Seen) -> Figure:
    figure, axes = _drawing()
    report = seen.diagnoses[0]
    first = report.anomalies[0].step
    before = [(step, seen.steps[step].loss) for step in range(first - 12, first)]
    axes.plot(*zip(*before, strict=True), color=FAINT, linewidth=1.2, marker=".", label="the run before")
    shown = (("as_it_was", BAD, "replayed as it was"), ("without_suspects", GOOD, "replayed without the suspect"))
    for name, colour, label in shown:
        replay = next(one for one in report.replays if one.name == name)
        points = [(step.step, step.loss) for step in replay.steps]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker="o", label=label)
    rows = [(first, sample.loss) for sample in seen.steps[first].samples]
    axes.plot(*zip(*rows, strict=True), "_", color=INK, markersize=14, label="rows of the anomalous step")
    named = (*report.culprits, *report.unproven)
    culprit = next(one for one in report.suspects if one.sample_id in named)
    axes.annotate(
        f"{culprit.sample_id}, {culprit.score:.1f} robust deviations out", (first, culprit.loss),
        xytext=(-12, 0), textcoords="offset points", ha="right", va="center", color=INK,
    )  # fmt: skip
    axes.set_title(
        f"Verdict {report.verdict}: {', '.join(named)} "
        f"({len(report.replays)} replays, {report.replay_steps} steps)",
        loc="left", color=INK, fontsize=11,
    )  # fmt: skip
    axes.set_ylabel("loss, nats per token", color=INK)
    axes.set_xlim(first - 12.5, first + 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, 0.88))
    return figure


def _drawing() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 4.2), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("optimizer step", color=INK)
    return figure, axes


def _smoothed(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Steps and the mean of the last losses up to each."""
    losses = [loss for _, loss in points]
    means = [float(np.mean(losses[max(0, at + 1 - SMOOTH_STEPS) : at + 1])) for at in range(len(losses))]
    return [step for step, _ in points], means


def _write(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
