"""`python -m tests.chaos.long --seed N`: the long schedule, as `make chaos SEED=N` runs it."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from examples.tiny_model import write_tiny_model
from tests.chaos.chaos import LEASE_S, Outcome, chaos
from tests.chaos.course import spec_of
from tests.chaos.disturbances import Store, kills_in, schedule
from tests.chaos.invariants import errors_nobody_foresaw, exits_nobody_foresaw, violations

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
    spec = spec_of(folder / "rows", model, steps=STEPS, window_steps=WINDOW_STEPS)
    undisturbed = chaos(folder / "undisturbed", folder / "jax", spec, (), told.store)
    disturbed = chaos(folder / "disturbed", folder / "jax", spec, disturbances, told.store)
    [reference] = undisturbed.runs
    wrong = [line for run in disturbed.runs for line in violations(run, reference)]
    wrong += [f"still there: {process}" for process in disturbed.orphans]
    wrong += [f"unforeseen: {line}" for line in errors_nobody_foresaw(disturbed.logs)]
    wrong += exits_nobody_foresaw(disturbed.own_exits)
    print(_summary(undisturbed, disturbed))
    print("\n".join(wrong) or "everything held")
    print(f"logs: {folder}")
    return 1 if wrong else 0


def _summary(undisturbed: Outcome, disturbed: Outcome) -> str:
    failures = Counter(code for run in disturbed.runs for code in run.failures)
    return (
        f"{len(disturbed.runs)} runs of {len(undisturbed.runs[0].windows)} windows in {disturbed.seconds:.0f} s "
        f"(undisturbed {undisturbed.seconds:.0f} s each) on {disturbed.disk}; "
        f"faults met on the wire: {dict(Counter(map(str, disturbed.faults_met)))}; "
        f"failed attempts: {dict(failures)}; deliveries refused: {disturbed.deliveries_refused}; "
        f"processes that ended by themselves: {len(disturbed.own_exits)}"
    )


if __name__ == "__main__":
    sys.exit(main())
