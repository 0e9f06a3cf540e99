"""How large LangGraph's tables get: a hundred thousand windows of one run, on both stores.

The checkpointer is the control plane's own, with the pruning and the vacuum that it has there; the loop is the healthy
cycle with nothing behind it, whose state is as large as it gets in a calm run. Nothing else writes to the store.

- `largest_mb`: the most that the tables took whenever they were looked at, in MB: with indexes, dead rows and SQLite's
  log.
- `second_half_mb`: the most in the second half of the windows. Beside `largest_mb` it tells growth from a plateau.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

from aft_api.supervisor.driver import PRUNE_EVERY
from aft_api.supervisor.graph import REPEATABLE
from aft_api.supervisor.saver import SCHEMA, open_saver
from aft_contracts import State
from benchmarks.command import run, say
from benchmarks.postgres import postgres
from benchmarks.report import Report, at_most, watched

LARGEST = at_most("largest_mb", 5)
WINDOWS, QUICK_WINDOWS = 100_000, 400
LOOK_EVERY = 50
"""Windows between two looks at the tables."""
TELL_EVERY = 10_000


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Measures SQLite, then Postgres."""
    windows = QUICK_WINDOWS if report.quick else arguments.windows
    with tempfile.TemporaryDirectory(prefix="aft-tables-") as folder:
        _add(report, f"SQLite, {windows} windows", asyncio.run(sizes_mb(None, Path(folder), windows=windows)))
        with postgres(Path(folder) / "postgres") as url:
            sizes = asyncio.run(sizes_mb(url, Path(folder), windows=windows))
        _add(report, f"Postgres, {windows} windows", sizes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Other sizes, for who is at work on it."""
    parser.add_argument("--windows", type=int, default=WINDOWS, help="windows of the run")


async def sizes_mb(database_url: str | None, data_dir: Path, *, windows: int) -> list[float]:
    """What the tables took, every `LOOK_EVERY` windows of one run.

    Args:
        database_url: of an empty Postgres, or None for SQLite in `data_dir`.
    """
    config: RunnableConfig = {"configurable": {"thread_id": "run-1"}}
    sizes: list[float] = []
    async with open_saver(database_url, data_dir, leave_out_before=REPEATABLE) as saver:
        loop = healthy_loop().compile(checkpointer=saver, interrupt_before=["train"])
        await loop.ainvoke(State(run_id="run-1"), config, durability="sync")
        for window in range(1, windows + 1):
            await loop.ainvoke(None, config, durability="sync")
            if window % PRUNE_EVERY == 0:
                await saver.forget_past("run-1")
            if window % LOOK_EVERY == 0:
                sizes.append(bytes_taken(database_url, data_dir) / 1e6)
            if window % TELL_EVERY == 0:
                say(f"{window} windows: {sizes[-1]:.2f} MB, {max(sizes):.2f} MB at most")
        trained = (await loop.aget_state(config)).values["window_index"]
    if trained != windows:
        raise RuntimeError(f"The loop went through {trained} windows where {windows} were asked for.")
    return sizes


def healthy_loop() -> StateGraph[State]:
    """The healthy cycle of the loop with nothing behind it."""

    async def train(state: State) -> State:
        index = state.get("window_index", 0)
        return State(step=10 * index + 10, window_index=index + 1, window_id=f"run-1:0:{index}")

    async def monitor(state: State) -> State:
        return State(verdict={"healthy": state["step"] > 0, "anomalies": []})

    async def curriculum(state: State) -> State:
        return State(windows_since_evaluation=state.get("windows_since_evaluation", 0) + 1, complete=False)

    graph = StateGraph(State)
    graph.add_node("train", train)
    graph.add_node("monitor", monitor)
    graph.add_node("curriculum", curriculum)
    graph.add_edge(START, "train")
    graph.add_edge("train", "monitor")
    graph.add_edge("monitor", "curriculum")
    graph.add_conditional_edges("curriculum", lambda _: "train", ["train"])
    return graph


def bytes_taken(database_url: str | None, data_dir: Path) -> int:
    """What LangGraph's tables take on disk, with indexes, dead rows and logs."""
    if database_url is None:
        return sum(path.stat().st_size for path in data_dir.glob("checkpoints.db*"))
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        [(size,)] = connection.execute(
            "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'",
            (SCHEMA,),
        ).fetchall()
        return int(size)


def _add(report: Report, case: str, sizes: list[float]) -> None:
    report.keep(case, {"mb": sizes})
    report.add(case, LARGEST, max(sizes))
    report.add(case, watched("second_half_mb"), max(sizes[len(sizes) // 2 :]))


if __name__ == "__main__":
    sys.exit(run("checkpoint_tables", measure, summary=__doc__, add_arguments=add_arguments))
