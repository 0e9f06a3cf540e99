"""How long a worker takes from nothing to its first finished step, with and without the programs of an earlier start.

Each start is a process of its own that goes the worker's way: imports, model and data, the session with its first
checkpoint, the first step of a window. `cold` begins with an empty compilation cache, `warm` with the one that an
earlier start left. Parsing of Python files and the system's file cache are warm in both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aft_contracts import RunSpec
from benchmarks.command import run, say
from benchmarks.models import CACHE
from benchmarks.pairs import interleaved
from benchmarks.report import Report, at_most, watched
from benchmarks.runs import run_spec

RATIO = at_most("warm_start_ratio", 0.5)
TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run that is started again and again."""

    model: str
    lora: bool
    batch_size: int
    length: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.model} {'LoRA' if self.lora else 'full'} B={self.batch_size} T={self.length}"


CASES = [
    Case(model="smollm2", lora=True, batch_size=4, length=128, rounds=5),
    Case(model="d256", lora=False, batch_size=8, length=128, rounds=5),
]
QUICK = [Case(model="tiny", lora=True, batch_size=2, length=32, rounds=1)]


def measure(report: Report, _: argparse.Namespace) -> None:
    """Measures every case."""
    for case in QUICK if report.quick else CASES:
        say(str(case))
        _measure_case(report, case)


def _measure_case(report: Report, case: Case) -> None:
    spec = run_spec(case.model, batch_size=case.batch_size, length=case.length, lora=case.lora)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        starts = {"cold": Starts(spec, Path(folder) / "cold"), "warm": Starts(spec, Path(folder) / "warm", cache="one")}
        # The warm-up of `warm` fills its cache.
        timings = interleaved(dict(starts), rounds=case.rounds, warm_ups=1)
    ratio = timings.ratio("warm", over="cold")
    report.add(str(case), RATIO, ratio.median, ratio.interval)
    for name, arm in starts.items():
        measured = {figure: readings[1:] for figure, readings in arm.readings.items()}
        report.keep(f"{case}, {name}", measured)
        for figure, readings in measured.items():
            report.add(f"{case}, {name}", watched(figure), float(np.median(readings)))


@dataclass
class Starts:
    """Starts of a worker, each in a run folder of its own and with an empty cache of programs, or all with `cache`."""

    spec: RunSpec
    folder: Path
    cache: str | None = None
    readings: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """What each start said, by name."""
    count: int = 0

    def __call__(self) -> float:
        """Seconds to the first finished step."""
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(self.spec.model_dump_json())
        cache = self.folder / self.cache if self.cache else folder / "cache"
        paths = [str(path) for path in (folder / "spec.json", folder / "run", cache)]
        command = [sys.executable, "-m", "benchmarks.first_step", str(time.monotonic()), *paths]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT_S)
        said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        for figure, value in said.items():
            self.readings[figure].append(value)
        return said["start_s"]


if __name__ == "__main__":
    sys.exit(run("startup", measure, summary=__doc__))
