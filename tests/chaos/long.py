"""`python -m tests.chaos.long --seed N`: the long schedule, as `make chaos SEED=N` runs it."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from examples.tiny_model import write_tiny_model
from tests.chaos.chaos import LEASE_S, Outcome, chaos
from tests.chaos.course import courses_in
from tests.chaos.disturbances import ON_THE_WIRE, Kind, Store, kills_in, schedule, unmet
from tests.chaos.invariants import (
    OF_THE_INTERRUPTED,
    errors_nobody_foresaw,
    exits_nobody_foresaw,
    violations,
)

KILLS = 52
OTHERS = 36
STEPS = 72
WINDOW_STEPS = 6


def main() -> int:
    """0 when everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", type=Store, default=Store.POSTGRES, choices=list(Store))
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--others", type=int, default=OTHERS)
    told = parser.parse_args()
    disturbances = schedule(told.seed, kills=told.kills, others=told.others, store=told.store, lease_s=LEASE_S)
    print(f"seed {told.seed} on {told.store}: {len(disturbances)} disturbances, {kills_in(disturbances)} kills")
    folder = Path(tempfile.mkdtemp(prefix="aft-chaos-long-"))
    model = write_tiny_model(folder / "model")
    courses = courses_in(folder, model, steps=STEPS, window_steps=WINDOW_STEPS)
    undisturbed = chaos(folder / "undisturbed", folder / "jax", courses, (), told.store)
    disturbed = chaos(folder / "disturbed", folder / "jax", courses, disturbances, told.store)
    [reference], [calm] = undisturbed.runs, undisturbed.interrupted
    wrong = [line for run in disturbed.runs for line in violations(run, reference)]
    wrong += [line for run in disturbed.interrupted for line in violations(run, calm, invariants=OF_THE_INTERRUPTED)]
    wrong += [f"in vain: {line}" for line in unmet(disturbances, disturbed.met)]
    wrong += [f"still there: {process}" for process in disturbed.orphans]
    wrong += [f"unforeseen: {line}" for line in errors_nobody_foresaw(disturbed.logs)]
    wrong += exits_nobody_foresaw(disturbed.own_exits)
    print(_summary(undisturbed, disturbed))
    print("\n".join(wrong) or "everything held")
    print(f"logs: {folder}")
    return 1 if wrong else 0


def _summary(undisturbed: Outcome, disturbed: Outcome) -> str:
    every_run = (*disturbed.runs, *disturbed.interrupted)
    failures = Counter(code for run in every_run for code in run.failures)
    on_the_wire = {f"{kind} {method}": count for (kind, method), count in disturbed.met.items() if kind in ON_THE_WIRE}
    pauses = sum(len(run.windows) - len(undisturbed.interrupted[0].windows) for run in disturbed.interrupted)
    return (
        f"{len(disturbed.runs)} runs of {len(undisturbed.runs[0].windows)} windows in {disturbed.seconds:.0f} s "
        f"(undisturbed {undisturbed.seconds:.0f} s each) on {disturbed.disk}, {len(disturbed.interrupted)} more with "
        f"{pauses} windows cut short; faults met on the wire: {dict(sorted(on_the_wire.items()))}; "
        f"full disks felt: {disturbed.met[Kind.FULL_DISK, '']}; failed attempts: {dict(failures)}; "
        f"deliveries refused: {disturbed.met[Kind.DEAF_RECEIVER, '']}; "
        f"processes that ended by themselves: {len(disturbed.own_exits)}"
    )


if __name__ == "__main__":
    sys.exit(main())
