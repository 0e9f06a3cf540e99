"""What supervision costs at scale: a thousand concurrent runs through one API process on Postgres.

The API, a simulated worker and Postgres are processes of their own; what is measured is the API's alone. The worker
speaks the whole protocol and trains nothing: its windows take half a second to two, and bring ten steps of eight
samples each. That is far quicker than any training, so the control plane is always behind, which is the worst case.

- `cpu_ms_per_window`: processor time of the API, from the moment at which the first windows begin until the last run
  has ended, ÷ the windows meanwhile. `GET /runs/{id}` is inside, asked twenty times a second of many runs only.
- `scale_ratio`: that figure at a thousand runs ÷ at ten. The ten come before and after, and the mean of both counts.
- `p99_get_ms`: from the moment at which a question was due, by a clock that does not wait for answers.
- `kib_per_parked_run`: memory of the API with every run waiting for its window, less that before they were started,
  ÷ the runs. `kib_per_asking_run` is the same for runs that wait for a human, which nobody drives.
- `takeover_s`: half-way a second API process is started and the first is killed; from the kill until every unfinished
  run belongs to the second. `takeover_progress_s`: until each has advanced under it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.command import run, say
from benchmarks.control.looker import Looker
from benchmarks.control.plane import END, Plane, Standing, open_plane
from benchmarks.report import Report, at_most, watched
from benchmarks.simulated_worker.worker import BAD_ROW

CPU = at_most("cpu_ms_per_window", 25)
GET = at_most("p99_get_ms", 100)
PARKED = at_most("kib_per_parked_run", 100)
SCALE = at_most("scale_ratio", 1.3)
UNFINISHED = at_most("runs_unfinished", 0)
TWICE = at_most("windows_trained_twice", 0)
SETTLE_S = 3.0
LOOK_AGAIN_S = 0.25
PATIENCE_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """How much is driven."""

    runs: int
    few: int
    """Runs of the small drives."""
    windows: int
    few_windows: int
    """Windows a run of the small drives."""
    asking: int
    """Runs that ask a human."""
    looks_hz: float
    window_s: tuple[float, float]
    lease_s: float

    def __str__(self) -> str:
        shortest_s, longest_s = self.window_s
        return f"{self.runs} runs x {self.windows} windows of {shortest_s:g} to {longest_s:g} s"


FULL = Case(runs=1000, few=10, windows=20, few_windows=20, asking=200, looks_hz=20, window_s=(0.5, 2.0), lease_s=30.0)
QUICK = Case(runs=4, few=2, windows=48, few_windows=2, asking=2, looks_hz=10, window_s=(0.4, 0.6), lease_s=2.0)


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Measures every figure in one process tree."""
    case = QUICK if report.quick else _asked(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="aft-control-") as folder,
        open_plane(Path(folder), window_s=case.window_s, lease_s=case.lease_s) as plane,
    ):
        asyncio.run(Benchmark(report, case, plane).run())


def _asked(arguments: argparse.Namespace) -> Case:
    return replace(
        FULL,
        runs=arguments.runs,
        windows=arguments.windows,
        few_windows=arguments.windows,
        window_s=_spread(arguments.window_s) if arguments.window_s else FULL.window_s,
        lease_s=arguments.lease_s,
    )


def _spread(mean_s: float) -> tuple[float, float]:
    return mean_s / 2, mean_s * 3 / 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Other sizes, for who is at work on it."""
    parser.add_argument("--runs", type=int, default=FULL.runs, help="concurrent runs")
    parser.add_argument("--windows", type=int, default=FULL.windows, help="windows a run")
    parser.add_argument("--window-s", type=float, help="mean length of a window, in seconds")
    parser.add_argument("--lease-s", type=float, default=FULL.lease_s, help="lease of the API processes, in seconds")


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What driving some runs to their end took."""

    windows: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_ms_per_window(self) -> float:
        """Processor time of the API a window."""
        return 1000 * self.cpu_s / self.windows


class Benchmark:
    """The phases, in order."""

    def __init__(self, report: Report, case: Case, plane: Plane) -> None:
        self._report, self._case, self._plane = report, case, plane

    async def run(self) -> None:
        """Few runs, many runs with a change of owner, few runs, runs that ask."""
        case, report = self._case, self._report
        await self._few("warm-up", windows=min(4, case.few_windows))
        few = [await self._few("few runs, before", windows=case.few_windows)]
        many = await self._many()
        few.append(await self._few("few runs, after", windows=case.few_windows))
        for name, drive in zip(("before", "after"), few, strict=True):
            report.add(f"{case.few} runs, {name}", watched("cpu_ms_per_window"), drive.cpu_ms_per_window)
        report.add(
            str(case), SCALE, many.cpu_ms_per_window / float(np.mean([drive.cpu_ms_per_window for drive in few]))
        )
        await self._asking()

    async def _few(self, what: str, *, windows: int) -> Drive:
        say(what)
        self._plane.hold_windows(held=True)
        started = await self._plane.start_runs(self._case.few, windows=windows)
        await self._until_waiting(len(started))
        return await self._to_the_end(started, windows=windows)

    async def _to_the_end(self, started: list[str], *, windows: int) -> Drive:
        cpu_s, began_s = self._plane.api.cpu_s(), time.monotonic()
        self._plane.hold_windows(held=False)
        await self._until_ended(started)
        return Drive(
            windows=len(started) * windows,
            cpu_s=self._plane.api.cpu_s() - cpu_s,
            wall_s=time.monotonic() - began_s,
        )

    async def _many(self) -> Drive:
        case, plane, report = self._case, self._plane, self._report
        say(str(case))
        plane.hold_windows(held=True)
        before_kib, cpu_s, began_s = plane.api.resident_kib(), plane.api.cpu_s(), time.monotonic()
        started = await plane.start_runs(case.runs, windows=case.windows)
        await self._until_waiting(len(started))
        report.add(str(case), watched("start_ms_per_run"), 1000 * (plane.api.cpu_s() - cpu_s) / case.runs)
        say(f"all wait for their first window, {time.monotonic() - began_s:.0f} s after the first was asked for")
        await asyncio.sleep(SETTLE_S)
        report.add(str(case), PARKED, (plane.api.resident_kib() - before_kib) / case.runs)
        looker = Looker(plane=plane, run_ids=started, rate_hz=case.looks_hz)
        looking = asyncio.create_task(looker.look())
        try:
            return await self._with_a_change_of_owner(started, looker)
        finally:
            looking.cancel()
            await asyncio.wait([looking])

    async def _with_a_change_of_owner(self, started: list[str], looker: Looker) -> Drive:
        case, plane, report = self._case, self._plane, self._report
        windows = case.runs * case.windows
        first, committed, first_cpu_s, began_s = plane.api, plane.committed(), plane.api.cpu_s(), time.monotonic()
        plane.hold_windows(held=False)
        await self._until(lambda: plane.committed() - committed >= windows // 2)
        say(f"half-way after {time.monotonic() - began_s:.0f} s; a second API process starts, and the first is killed")
        second = await asyncio.to_thread(plane.start_api)
        second_cpu_s = second.cpu_s()
        first_cpu_s, first_windows = first.cpu_s() - first_cpu_s, plane.committed() - committed
        standings = plane.standings()
        left = [run_id for run_id in started if standings[run_id].status not in END]
        first.kill()
        killed_s = time.monotonic()
        plane.api = second
        owned_s = await self._until(lambda: self._has_changed_owner(left, standings))
        moved_s = await self._until(lambda: self._has_advanced(left, standings))
        report.add(str(case), at_most("takeover_s", case.lease_s), owned_s - killed_s)
        report.add(str(case), watched("takeover_progress_s"), moved_s - killed_s)
        report.add(str(case), watched("runs_taken_over"), len(left))
        await self._until_ended(started)
        ended_s = time.monotonic()
        drive = Drive(windows=windows, cpu_s=first_cpu_s + second.cpu_s() - second_cpu_s, wall_s=ended_s - began_s)
        report.add(str(case), CPU, drive.cpu_ms_per_window)
        report.add(str(case), watched("cpu_ms_per_window_before_the_kill"), 1000 * first_cpu_s / first_windows)
        driven_s = drive.wall_s - (owned_s - killed_s)
        report.add(str(case), watched("windows_per_s"), windows / driven_s)
        report.add(str(case), watched("api_cpu_share"), drive.cpu_s / driven_s)
        self._latency(looker, idle=(killed_s, owned_s))
        self._verdicts(started, committed + windows)
        return drive

    def _latency(self, looker: Looker, *, idle: tuple[float, float]) -> None:
        """Questions asked while nobody drove anything are left out: they are quicker than the others."""
        report, case = self._report, str(self._case)
        readings = [
            seconds
            for asked_s, seconds in zip(looker.asked_at_s, looker.seconds, strict=True)
            if not idle[0] <= asked_s <= idle[1]
        ]
        report.keep(case, {"get_s": readings})
        report.add(case, GET, 1000 * float(np.percentile(readings, 99)))
        report.add(case, watched("p50_get_ms"), 1000 * float(np.median(readings)))
        report.add(case, watched("gets"), len(readings))
        report.add(case, watched("gets_without_answer"), looker.failures)

    def _verdicts(self, started: list[str], expected: int) -> None:
        report, case, plane = self._report, str(self._case), self._plane
        standings, trainings = plane.standings(), plane.trainings()
        unfinished = [run_id for run_id in started if standings[run_id].status != "succeeded"]
        report.add(case, UNFINISHED, len(unfinished))
        report.add(case, TWICE, len(trainings["more_than_once"]) + len(trainings["misplaced"]))
        assert unfinished or plane.committed() == expected, "as many windows as were asked for are committed"
        if plane.anomalies():
            report.note(f"{plane.anomalies()} anomalies were found in healthy runs, which costs more than no anomaly.")

    async def _asking(self) -> None:
        case, plane = self._case, self._plane
        say(f"{case.asking} runs ask a human")
        await asyncio.sleep(SETTLE_S)
        before_kib = plane.api.resident_kib()
        started = await plane.start_runs(case.asking, windows=case.windows, name=BAD_ROW)
        await self._until(lambda: self._have_status(started, "waiting"))
        await asyncio.sleep(SETTLE_S)
        grown = plane.api.resident_kib() - before_kib
        self._report.add(f"{case.asking} runs ask a human", watched("kib_per_asking_run"), grown / case.asking)

    async def _until_waiting(self, count: int) -> None:
        await self._until(lambda: self._plane.trainings()["waiting"] >= count)

    async def _until_ended(self, started: list[str]) -> None:
        await self._until(lambda: self._have_status(started, *END))

    async def _until(self, is_so: Callable[[], bool]) -> float:
        """The moment at which it is so.

        Raises:
            TimeoutError: it does not become so.
        """
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(is_so):  # noqa: ASYNC110 - another process is looked at
                await asyncio.sleep(LOOK_AGAIN_S)
        return time.monotonic()

    def _have_status(self, run_ids: list[str], *statuses: str) -> bool:
        standings = self._plane.standings()
        return all(standings[run_id].status in statuses for run_id in run_ids)

    def _has_changed_owner(self, run_ids: list[str], before: Mapping[str, Standing]) -> bool:
        now = self._plane.standings()
        return all(
            now[run_id].status in END or now[run_id].owner not in (None, before[run_id].owner) for run_id in run_ids
        )

    def _has_advanced(self, run_ids: list[str], before: Mapping[str, Standing]) -> bool:
        now = self._plane.standings()
        return all(now[run_id].status in END or now[run_id].step > before[run_id].step for run_id in run_ids)


if __name__ == "__main__":
    sys.exit(run("control_plane", measure, summary=__doc__, add_arguments=add_arguments))
