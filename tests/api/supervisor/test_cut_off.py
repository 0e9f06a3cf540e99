"""A drive that is cut off: behind a committed window the cycle is gone through again, and nothing is done twice; a stop
ends the window that the drive was cut off in, and keeps what it trained."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aft_api.db.fence import LeaseLost
from aft_api.supervisor.evidence import Evidence, gather
from aft_api.supervisor.jobs import OnView, run_job
from aft_api.supervisor.nodes import monitor, train
from aft_api.supervisor.ports import Ports
from aft_contracts import Contract, JobView, State, WindowSpec
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio
CutOff = Callable[[Callable[[], Awaitable[Any]]], list[str]]
CutOffInWindow = Callable[[Callable[[], Awaitable[Any]]], None]


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> CutOff:
    """Has the drive end in `monitor` of the second window, once, after something was done; all that were judged."""

    def prepared(first: Callable[[], Awaitable[Any]]) -> list[str]:
        judged: list[str] = []

        async def gathered(ports: Ports, state: State) -> Evidence:
            judged.append(state["window_id"])
            if judged.count(state["window_id"]) == 1 and state["window_index"] == 2:
                await first()
                raise LeaseLost(state["run_id"])
            return await gather(ports, state)

        monkeypatch.setattr(monitor, "gather", gathered)
        return judged

    return prepared


async def test_a_cycle_that_was_cut_off_is_gone_through_again(api: Api, cut_off: CutOff) -> None:
    judged = cut_off(lambda: asyncio.sleep(0))
    run_id = await api.start()
    await api.until(run_id, "succeeded")
    windows = [f"{run_id}:0:{index}" for index in range(6)]
    assert judged == [*windows[:2], windows[1], *windows[2:]]
    assert api.worker.windows == windows, "none was trained again"
    assert [event["details"]["window_id"] for event in await api.events(run_id, "window_committed")] == windows


async def test_a_stop_after_it_exports_what_was_committed(api: Api, cut_off: CutOff) -> None:
    run_ids: list[str] = []
    judged = cut_off(lambda: api.command(run_ids[0], "stop"))
    run_ids.append(await api.start())
    [run_id] = run_ids
    run = await api.until(run_id, "stopped")
    assert judged == [f"{run_id}:0:0", f"{run_id}:0:1"]
    assert run["step"] == 20
    [exported] = [job_id for job_id in api.worker.jobs if job_id.startswith(f"{run_id}:x:")]
    assert exported.startswith(f"{run_id}:x:0:20:"), "the window that was committed is in it"


@pytest.fixture
def cut_off_in_window(monkeypatch: pytest.MonkeyPatch) -> CutOffInWindow:
    """Has the drive end in its second window, once, when two steps were seen and something was done."""

    def prepared(first: Callable[[], Awaitable[Any]]) -> None:
        cut: list[str] = []

        async def runs(
            ports: Ports, run_id: str, kind: Any, job_id: str, spec: WindowSpec, *, on_view: OnView
        ) -> JobView[Contract]:
            async def seen(view: JobView[Contract]) -> None:
                await on_view(view)
                if len(view.progress) >= 2 and spec.index == 1 and not cut:
                    cut.append(job_id)
                    await first()
                    raise LeaseLost(run_id)

            return await run_job(ports, run_id, kind, job_id, spec, on_view=seen)

        monkeypatch.setattr(train, "run_job", runs)

    return prepared


async def windows_of(api: Api, run_id: str) -> list[dict[str, Any]]:
    """The run's windows."""
    windows: list[dict[str, Any]] = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
    return windows


async def test_a_stop_between_two_drives_ends_the_window_and_exports_what_it_trained(
    api: Api, cut_off_in_window: CutOffInWindow
) -> None:
    run_ids: list[str] = []
    cut_off_in_window(lambda: api.command(run_ids[0], "stop"))
    api.worker.step_s = 0.3
    run_ids.append(await api.start())
    [run_id] = run_ids
    run = await api.until(run_id, "stopped")
    windows = await windows_of(api, run_id)
    assert [window["status"] for window in windows] == ["committed", "committed"]
    assert 12 <= run["step"] == windows[1]["result"]["end_step"] < 20
    [exported] = [job_id for job_id in api.worker.jobs if job_id.startswith(f"{run_id}:x:")]
    assert exported.startswith(f"{run_id}:x:0:{run['step']}:"), "the window that was ended is in it"
    assert run["export"]["adapter_path"]
    assert api.worker.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]


async def test_a_stop_does_not_have_a_window_trained_that_the_worker_has_lost(
    api: Api, cut_off_in_window: CutOffInWindow
) -> None:
    run_ids: list[str] = []

    async def lose() -> None:
        await api.command(run_ids[0], "stop")
        api.worker.restart()

    cut_off_in_window(lose)
    api.worker.step_s = 0.3
    run_ids.append(await api.start())
    [run_id] = run_ids
    run = await api.until(run_id, "stopped")
    assert [window["status"] for window in await windows_of(api, run_id)] == ["committed", "failed"]
    assert [event["details"]["code"] for event in await api.events(run_id, "window_failed")] == ["job_not_found"]
    assert (run["step"], api.worker.windows) == (10, [f"{run_id}:0:0"])
    assert run["export"]["adapter_path"], "what was committed before"


async def test_a_stop_does_not_wait_for_ever_for_a_window_that_does_not_end(
    tmp_path: Path, cut_off_in_window: CutOffInWindow
) -> None:
    worker, run_ids = SimulatedWorker(), list[str]()
    async with serving(simulated_app(worker)) as url:
        settings = settings_for(tmp_path, None, url, job_silence_s=1.0).model_copy(update={"poll_s": 0.05})
        async with running_api(settings, worker) as api:

            async def hang() -> None:
                await api.command(run_ids[0], "stop")
                worker.step_s = 3600.0

            cut_off_in_window(hang)
            worker.step_s = 0.3
            run_ids.append(await api.start())
            [run_id] = run_ids
            run = await api.until(run_id, "stopped")
            [failed] = await api.events(run_id, "window_failed")
            assert failed["details"]["code"] in {"window_left", "job_silent"}
            assert [window["status"] for window in await windows_of(api, run_id)] == ["committed", "failed"]
            assert (run["step"], bool(run["export"]["adapter_path"])) == (10, True)
