"""The checkpointer: nothing is written under a lost lease, and the past is forgotten."""

from pathlib import Path
from typing import TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from aft_api.clock import utc_now
from aft_api.db.engine import open_store
from aft_api.db.fence import LeaseLost, fenced
from aft_api.db.migrate import upgrade
from aft_api.runs.leases import claim_runs
from aft_api.runs.service import Caller, start_run
from aft_api.supervisor.saver import open_saver
from aft_contracts import RunSpec
from tests.api.conftest import spec_json

pytestmark = pytest.mark.anyio


class Counted(TypedDict, total=False):
    """A state with one number."""

    count: int


def counting_graph() -> StateGraph[Counted]:
    """Two nodes in a row, each adding one."""

    async def add(state: Counted) -> Counted:
        return Counted(count=state.get("count", 0) + 1)

    graph = StateGraph(Counted)
    graph.add_node("first", add)
    graph.add_node("second", add)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    return graph


async def test_past_is_forgotten_and_the_position_is_kept(tmp_path: Path, database_url: str | None) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "run-1"}}
    async with open_saver(database_url, tmp_path) as saver:
        loop = counting_graph().compile(checkpointer=saver)
        await loop.ainvoke({"count": 0}, config, durability="sync")
        assert len([one async for one in saver.alist(config)]) > 1
        await saver.forget_past("run-1")
        assert len([one async for one in saver.alist(config)]) == 1
        assert (await loop.aget_state(config)).values == {"count": 2}


async def test_driver_without_its_lease_writes_nothing(tmp_path: Path, postgres_url: str) -> None:
    upgrade(postgres_url)
    store = open_store(postgres_url, tmp_path)
    caller = Caller(user="u", channel="api")
    run_id = await start_run(
        store, RunSpec.model_validate(spec_json()), idempotency_key=None, caller=caller, clock=utc_now
    )
    [token] = (await claim_runs(store, "a", lease_s=-1.0, limit=1)).values()
    config: RunnableConfig = {"configurable": {"thread_id": run_id}}
    async with open_saver(postgres_url, tmp_path) as saver:
        loop = counting_graph().compile(checkpointer=saver)
        with fenced(run_id, token):
            await loop.ainvoke({"count": 0}, config, durability="sync")
        await claim_runs(store, "b", lease_s=60.0, limit=1)
        with fenced(run_id, token), pytest.raises(LeaseLost):
            await loop.ainvoke({"count": 10}, config, durability="sync")
        assert (await loop.aget_state(config)).values == {"count": 2}
    await store.engine.dispose()
