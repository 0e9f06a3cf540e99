"""The checkpointer: nothing is written under a lost lease, and the past is forgotten."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict, cast

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from aft_api.db.engine import open_store
from aft_api.db.fence import LeaseLost, fenced
from aft_api.db.migrate import upgrade
from aft_api.runs.leases import claim_runs
from aft_api.supervisor.saver import (
    SCHEMA,
    SETUP_KEY,
    SetupLockTimeout,
    open_saver,
    set_up_postgres,
)
from tests.api.conftest import Api, placed_run

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


async def test_what_is_left_out_is_in_the_checkpoint_behind_it(tmp_path: Path, database_url: str | None) -> None:
    class Kept(TypedDict, total=False):
        first: dict[str, int]
        second: dict[str, int]
        third: dict[str, int]

    ran: list[str] = []
    breaks_off = False

    def adding(name: str) -> Callable[[Kept], Awaitable[Kept]]:
        async def add(state: Kept) -> Kept:
            ran.append(name)
            if breaks_off and name == "second":
                raise ConnectionAbortedError
            return cast("Kept", {name: {"seen": len(state)}})

        return add

    graph = StateGraph(Kept)
    names = ("first", "second", "third")
    for name, before in zip(names, (START, *names), strict=False):
        graph.add_node(name, adding(name))
        graph.add_edge(before, name)
    config: RunnableConfig = {"configurable": {"thread_id": "run-1"}}
    async with open_saver(database_url, tmp_path, leave_out_before=("second", "third")) as saver:
        loop = graph.compile(checkpointer=saver, interrupt_before=["first"])
        await loop.ainvoke({}, config, durability="sync")
        breaks_off = True
        with pytest.raises(ConnectionAbortedError):
            await loop.ainvoke(None, config, durability="sync")
    breaks_off = False
    async with open_saver(database_url, tmp_path, leave_out_before=("second", "third")) as saver:  # another process
        loop = graph.compile(checkpointer=saver, interrupt_before=["first"])
        cut_off = await loop.aget_state(config)
        assert (cut_off.next, cut_off.values) == (("first",), {})
        before = {one.config["configurable"]["checkpoint_id"] async for one in saver.alist(config)}
        await loop.ainvoke(None, config, durability="sync")
        assert ran == ["first", "second", "first", "second", "third"]
    async with open_saver(database_url, tmp_path) as saver:
        kept = [one async for one in saver.alist(config)]
        [newest] = [one for one in kept if one.config["configurable"]["checkpoint_id"] not in before]
        expected = {name: {"seen": number} for number, name in enumerate(names)}
        assert newest.checkpoint["channel_values"].items() >= expected.items()
        assert newest.parent_config is not None
        assert newest.parent_config["configurable"]["checkpoint_id"] in before, "it follows one that was kept"


async def test_driver_without_its_lease_writes_nothing(tmp_path: Path, postgres_url: str) -> None:
    upgrade(postgres_url)
    store = open_store(postgres_url, tmp_path)
    run_id = await placed_run(store)
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


async def test_run_leaves_one_checkpoint_however_many_windows_it_had(api: Api, database_url: str | None) -> None:
    run_id = await api.start(window={"steps": 2})
    await api.until(run_id, "succeeded")
    config: RunnableConfig = {"configurable": {"thread_id": run_id}}
    saver = api.app.state.fleet.saver
    async with asyncio.timeout(10):
        while len(kept := [one async for one in saver.alist(config)]) > 1:
            await asyncio.sleep(0.05)
    [newest] = kept
    assert newest.checkpoint["channel_values"]["window_index"] == 30
    assert len(newest.pending_writes or []) <= 5
    if database_url is not None:
        with psycopg.connect(database_url) as connection:
            [(blobs,)] = connection.execute(f"SELECT count(*) FROM {SCHEMA}.checkpoint_blobs").fetchall()
        assert blobs <= len(newest.checkpoint["channel_versions"])


async def test_question_survives_the_forgetting(tmp_path: Path, database_url: str | None) -> None:
    class Asked(TypedDict, total=False):
        answer: str

    async def ask(state: Asked) -> Asked:
        return Asked(answer=interrupt({"review_id": "r"}))

    graph = StateGraph(Asked)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    config: RunnableConfig = {"configurable": {"thread_id": "run-1"}}
    async with open_saver(database_url, tmp_path) as saver:
        loop = graph.compile(checkpointer=saver)
        await loop.ainvoke({"answer": ""}, config, durability="sync")
        await saver.forget_past("run-1")
    async with open_saver(database_url, tmp_path) as saver:  # another process
        loop = graph.compile(checkpointer=saver)
        [question] = (await loop.aget_state(config)).interrupts
        assert question.value == {"review_id": "r"}
        await loop.ainvoke(Command(resume={question.id: "yes"}), config, durability="sync")
        assert (await loop.aget_state(config)).values == {"answer": "yes"}


async def test_other_runs_keep_what_one_forgets(tmp_path: Path, database_url: str | None) -> None:
    configs: list[RunnableConfig] = [{"configurable": {"thread_id": f"run-{number}"}} for number in range(2)]
    async with open_saver(database_url, tmp_path) as saver:
        loop = counting_graph().compile(checkpointer=saver)
        for config in configs:
            await loop.ainvoke({"count": 0}, config, durability="sync")
        before = len([one async for one in saver.alist(configs[1])])
        await saver.forget_past("run-0")
        assert [len([one async for one in saver.alist(config)]) for config in configs] == [1, before]
        assert [(await loop.aget_state(config)).values for config in configs] == [{"count": 2}] * 2


async def test_stale_driver_forgets_nothing(tmp_path: Path, postgres_url: str) -> None:
    upgrade(postgres_url)
    config: RunnableConfig = {"configurable": {"thread_id": "run-1"}}
    async with open_saver(postgres_url, tmp_path) as saver:
        loop = counting_graph().compile(checkpointer=saver)
        await loop.ainvoke({"count": 0}, config, durability="sync")
        before = len([one async for one in saver.alist(config)])
        with fenced("run-1", 1), pytest.raises(LeaseLost):
            await saver.forget_past("run-1")
        assert len([one async for one in saver.alist(config)]) == before > 1


async def test_tables_are_set_up_by_several_replicas_at_once_and_again(postgres_url: str) -> None:
    for _ in range(2):  # on an empty database, and on one that is set up
        outcomes: list[Any] = await asyncio.gather(
            *(asyncio.to_thread(set_up_in_a_loop_of_its_own, postgres_url) for _ in range(5)), return_exceptions=True
        )
        assert outcomes == [None] * 5


def set_up_in_a_loop_of_its_own(postgres_url: str) -> None:
    """What a replica does as it starts: Alembic first, LangGraph then."""
    upgrade(postgres_url)
    asyncio.run(set_up_postgres(postgres_url))


async def test_replica_that_never_ends_its_setup_is_named_and_not_waited_for(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as hanging:
        hanging.execute("SELECT pg_advisory_lock(%s)", (SETUP_KEY,))
        with pytest.raises(SetupLockTimeout, match=str(SETUP_KEY)):
            await set_up_postgres(postgres_url, within_s=0.3)
    await set_up_postgres(postgres_url, within_s=10)
