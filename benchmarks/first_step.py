"""`python -m benchmarks.first_step BEGUN SPEC FOLDER CACHE`: a worker's way from nothing to its second finished step.

BEGUN is the parent's `time.monotonic()` when it started this process, SPEC a file with a run spec, FOLDER the run's
folder and CACHE that of compiled programs. Prints one JSON object of seconds (and counts, where the name has no `_s`).
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

MARKS = [("begun", float(sys.argv[1]))] if __name__ == "__main__" else []

DURATIONS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile_or_fetch",
    "/jax/compilation_cache/cache_retrieval_time_sec": "fetch",
}
EVENTS = {"/jax/compilation_cache/cache_hits": "cache_hits", "/jax/compilation_cache/cache_misses": "cache_misses"}
"""What JAX reports while it works, and our names for it; a trace inside another is counted in both."""


def main() -> None:
    """Goes the way that `aft worker` goes, without HTTP."""
    # Imported here, because importing is part of what is measured; main brings all that a worker needs.
    from aft_contracts import RunSpec, Schedule, StepRecord, WindowSpec, window_id_of
    from aft_worker.control import Unattended
    from aft_worker.devices import enable_compilation_cache
    from aft_worker.main import serve  # noqa: F401
    from aft_worker.model.mesh import make_mesh
    from aft_worker.session import Session
    from aft_worker.trainer import load_trainer

    _mark("imports")
    spec_file, folder, cache = map(Path, sys.argv[2:5])
    work = {name: 0.0 for event in DURATIONS.values() for name in (f"{event}_s", f"{event}_count")}
    work |= dict.fromkeys(EVENTS.values(), 0.0)
    _listen(work)
    enable_compilation_cache(cache)
    mesh = make_mesh()
    _mark("devices")
    trainer = load_trainer(RunSpec.model_validate_json(spec_file.read_bytes()), mesh)
    _mark("load")
    session = Session(trainer, folder)
    _mark("session")

    class Watch(Unattended):
        """Marks the end of each step."""

        def step_finished(self, record: StepRecord) -> None:
            _mark("first_step" if record.step == 0 else "second_step")
            if record.step == 0:
                at_first_step.update(work)

    at_first_step: dict[str, float] = {}
    window_id = window_id_of("run", 0, 0)
    window = WindowSpec(
        window_id=window_id, run_id="run", generation=0, index=0, start_step=0, num_steps=2, schedule=Schedule()
    )
    session.train_window(window, Watch())
    session.close()
    print(json.dumps(_phases() | at_first_step))


def _mark(name: str) -> None:
    MARKS.append((name, time.monotonic()))


def _phases() -> dict[str, float]:
    ends = dict(MARKS)
    phases = {f"{name}_s": end - before for (_, before), (name, end) in pairwise(MARKS)}
    return {"start_s": ends["first_step"] - ends["begun"]} | phases


def _listen(work: dict[str, float]) -> None:
    """Adds up what JAX says of its compilations."""
    from jax import monitoring

    def add_seconds(event: str, duration_secs: float, **_: str | int) -> None:
        if event in DURATIONS:
            work[f"{DURATIONS[event]}_s"] += duration_secs
            work[f"{DURATIONS[event]}_count"] += 1

    def add_event(event: str, **_: str | int) -> None:
        if event in EVENTS:
            work[EVENTS[event]] += 1

    monitoring.register_event_duration_secs_listener(add_seconds)
    monitoring.register_event_listener(add_event)


if __name__ == "__main__":
    main()
