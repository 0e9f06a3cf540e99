"""The steps of a lineage as they are read for judging."""

import pytest

from aft_api.db.engine import Store
from aft_api.runs.windows import lineage_steps
from aft_contracts import (
    Branch,
    SampleRecord,
    Schedule,
    StepRecord,
)
from tests.api.conftest import placed_run
from tests.api.runs.commits import commit, window

pytestmark = pytest.mark.anyio
WINDOW_STEPS = 3


def _step(generation: int, step: int) -> StepRecord:
    row = SampleRecord(sample_id=f"s{generation}-{step}", domain="chat", loss=float("nan"), grad_norm=1.0, tokens=4)
    return StepRecord(
        step=step, loss=generation + step / 100, grad_norm=float("inf"), lr=1e-3, clip_norm=1.0, tokens=4, applied=True,
        seconds=0.1, samples=(row,),
    )  # fmt: skip


async def _read(store: Store, run_id: str, **how: int) -> list[tuple[float, int]]:
    """(loss, rows) of each step read, of a run that went back to step 6 once."""
    schedule = Schedule(branches=(Branch(generation=1, step=6),))
    async with store.reads() as session:
        steps = await lineage_steps(session, run_id, schedule, **how)
    return [(step.loss, len(step.samples)) for step in steps]


async def test_whole_windows_are_read_along_the_branches_and_old_ones_without_samples(store: Store) -> None:
    run_id = await placed_run(store)
    for index, (generation, start) in enumerate(((0, 0), (0, 3), (0, 6), (1, 6), (1, 9))):
        spec = window(run_id, generation, index, start, num_steps=WINDOW_STEPS)
        await commit(store, spec, [_step(generation, step) for step in range(start, start + WINDOW_STEPS)])
    whole = [(step / 100, 1) for step in range(6)] + [(1 + step / 100, 1) for step in range(6, 12)]
    assert await _read(store, run_id, before_step=12, at_least=12) == whole
    assert await _read(store, run_id, before_step=12, at_least=7) == whole[3:]
    bare = [(loss, int(place >= 3)) for place, (loss, _) in enumerate(whole)]
    assert await _read(store, run_id, before_step=12, at_least=12, samples_from=3) == bare
    assert await _read(store, run_id, before_step=12, at_least=12, samples_from=5) == bare, "whole windows"
    none = [(loss, 0) for loss, _ in whole]
    assert await _read(store, run_id, before_step=12, at_least=12, samples_from=12) == none
