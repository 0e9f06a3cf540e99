"""A drive that is cut off behind a committed window: the cycle is gone through again, and nothing is done twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aft_api.db.fence import LeaseLost
from aft_api.supervisor.evidence import Evidence, gather
from aft_api.supervisor.nodes import monitor
from aft_api.supervisor.ports import Ports
from aft_contracts import State
from tests.api.conftest import Api

pytestmark = pytest.mark.anyio
CutOff = Callable[[Callable[[], Awaitable[Any]]], list[str]]


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
