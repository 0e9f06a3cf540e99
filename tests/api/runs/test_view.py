"""A run's view: the last finished step, wherever on the lineage it was trained."""

import pytest

from aft_api.db.engine import Store
from aft_api.runs.errors import RunNotFound
from aft_api.runs.repository import note_run
from aft_api.runs.schedules import add_schedule
from aft_api.runs.view import view_run, view_runs
from aft_api.runs.windows import intend_window, note_progress
from aft_contracts import (
    Branch,
    JobStatus,
    JobView,
    RunStatus,
    RunView,
    Schedule,
    StepRecord,
    WindowSpec,
)
from tests.api.conftest import placed_run
from tests.api.runs.commits import NOW, commit, window

pytestmark = pytest.mark.anyio


def _step(step: int, loss: float) -> StepRecord:
    return StepRecord(
        step=step, loss=loss, grad_norm=loss / 2, lr=1e-3, clip_norm=1.0, tokens=4, applied=True, seconds=0.1
    )


async def _trained(store: Store, spec: WindowSpec, *losses: float) -> None:
    await commit(store, spec, [_step(spec.start_step + number, loss) for number, loss in enumerate(losses)])


async def _seen(store: Store, run_id: str) -> RunView:
    async with store.reads() as session:
        return await view_run(session, run_id)


async def test_last_finished_step_is_shown_committed_or_not(store: Store) -> None:
    run_id = await placed_run(store)
    new = await _seen(store, run_id)
    assert (new.step, new.loss, new.grad_norm) == (0, None, None)
    await _trained(store, window(run_id, 0, 0, 0), 3.0, 2.5)
    after = await _seen(store, run_id)
    assert (after.step, after.loss, after.grad_norm) == (2, 2.5, 1.25)
    running = window(run_id, 0, 1, 2)
    view = JobView(
        job_id=running.window_id, spec_hash="0" * 64, status=JobStatus.RUNNING,
        progress=(_step(2, 2.25), _step(3, float("nan"))),
    )  # fmt: skip
    async with store.sessions.begin() as session:
        await intend_window(session, running, lambda: NOW)
    assert (await _seen(store, run_id)).loss == 2.5, "of a window that has just begun there is nothing to show"
    async with store.sessions.begin() as session:
        await note_progress(session, running.run_id, running.window_id, view)
    during = await _seen(store, run_id)
    assert (during.step, str(during.loss)) == (4, "nan")


async def test_run_that_was_rolled_back_shows_the_step_it_goes_on_from(store: Store) -> None:
    run_id = await placed_run(store)
    await _trained(store, window(run_id, 0, 0, 0), 3.0, 2.5)
    await _trained(store, window(run_id, 0, 1, 2), 9.0, 9.5)
    branched = Schedule(version=1, branches=(Branch(generation=1, step=2),))
    async with store.sessions.begin() as session:
        await add_schedule(session, run_id, branched, cause="repair", clock=lambda: NOW)
        await note_run(session, run_id, step=2, generation=1)
    back = await _seen(store, run_id)
    assert (back.step, back.loss, back.schedule) == (2, 2.5, branched)
    await _trained(store, window(run_id, 1, 2, 2), 2.4, 2.2)
    assert (await _seen(store, run_id)).loss == 2.2


async def test_list_shows_each_run_as_its_own_view_does(store: Store) -> None:
    run_ids = [await placed_run(store) for _ in range(2)]
    await _trained(store, window(run_ids[0], 0, 0, 0), 3.0, 2.5)
    async with store.reads() as session:
        listed = await view_runs(session, status=None, limit=10)
        none = await view_runs(session, status=RunStatus.FAILED, limit=10)
    assert {view.run_id: view for view in listed} == {run_id: await _seen(store, run_id) for run_id in run_ids}
    assert none == []


async def test_unknown_run_is_named(store: Store) -> None:
    with pytest.raises(RunNotFound, match="run-x"):
        await _seen(store, "run-x")
