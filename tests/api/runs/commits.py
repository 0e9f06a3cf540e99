"""Windows as the loop leaves them in the store, for tests of what is read from there."""

from collections.abc import Sequence
from datetime import UTC, datetime

from aft_api.db.engine import Store
from aft_api.runs.repository import note_run
from aft_api.runs.windows import complete_window, intend_window
from aft_contracts import CheckpointRef, MetricsWindow, Schedule, StepRecord, WindowResult, WindowSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def window(run_id: str, generation: int, index: int, start_step: int, *, num_steps: int = 2) -> WindowSpec:
    """What a window was to train."""
    return WindowSpec(
        window_id=f"{run_id}:{generation}:{index}", run_id=run_id, generation=generation, index=index,
        start_step=start_step, num_steps=num_steps, schedule=Schedule(),
    )  # fmt: skip


async def commit(store: Store, spec: WindowSpec, steps: Sequence[StepRecord]) -> None:
    """Write the window, what it did, and where its run stands then."""
    end = spec.start_step + len(steps)
    result = WindowResult(
        window_id=spec.window_id,
        start_step=spec.start_step,
        end_step=end,
        metrics=MetricsWindow(window_id=spec.window_id, steps=tuple(steps)),
        checkpoint=CheckpointRef(generation=spec.generation, step=end, uri="sim://", manifest_digest="0" * 64),
        state_digest="0" * 64,
    )
    async with store.sessions.begin() as session:
        await intend_window(session, spec, lambda: NOW)
        await complete_window(session, spec.window_id, result, lambda: NOW)
        await note_run(session, spec.run_id, step=end, generation=spec.generation)
