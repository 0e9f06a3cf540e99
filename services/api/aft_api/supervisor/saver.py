"""LangGraph's checkpointer on both stores: fenced by the lease, without the stock saver's global lock, sparing."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.base import id as ids
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from aft_api.db.engine import CONNECTION_LIMITS, MOST_IDLE_S, PING_AFTER_S, QUEUE_S, idle_limit
from aft_api.db.fence import LeaseLost, fence

SCHEMA = "langgraph"
SETUP_KEY = 0x616675  # "afu"
SETUP_WITHIN_S = 60.0
VACUUM_EVERY = 25
"""Fewest prunes of this process between two vacuums. A prune leaves some 25 KB, of the cycles since the one before it,
that only a vacuum makes room of, and Postgres's own comes by once a minute at best: what the tables can grow to must
not depend on how quick the windows are."""
PRUNES_A_RUN = 2
"""Prunes of each run, on average, between two vacuums: one that passes over many runs' rows comes less often."""
WAL_PAGES = 250
"""SQLite's log is carried over at this length; its own habit of 1,000 pages would be most of what a run takes."""

# What belongs to the newest checkpoint stays, with the answers and questions that are pending on it.
_FORGET = (
    """
    DELETE FROM checkpoint_writes WHERE thread_id = %(run_id)s AND checkpoint_id < (
        SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(run_id)s)
    """,
    """
    DELETE FROM checkpoints WHERE thread_id = %(run_id)s AND checkpoint_id < (
        SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(run_id)s)
    """,
    """
    DELETE FROM checkpoint_blobs old WHERE thread_id = %(run_id)s AND NOT EXISTS (
        SELECT FROM checkpoints kept, jsonb_each_text(kept.checkpoint -> 'channel_versions') used
        WHERE kept.thread_id = old.thread_id AND used.key = old.channel AND used.value = old.version)
    """,
)
_FORGET_SQLITE = (
    """
    DELETE FROM writes WHERE thread_id = ? AND checkpoint_id < (
        SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?)
    """,
    """
    DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_id < (
        SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?)
    """,
)


_LEASE = "SELECT 1 AS ours FROM public.runs WHERE run_id = %s AND lease_token = %s FOR SHARE"
_taken_s: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()
"""When each connection was last taken from its pool."""


class SetupLockTimeout(Exception):
    """Another replica has been setting up LangGraph's tables for too long."""


class _SparingSaver(BaseCheckpointSaver[str]):
    """Keeps no checkpoint from which the loop goes on to one of `unkept`, and lets each follow the one before it.

    The next one that is kept has what those left out would have had. After a crash in between, the loop goes on from
    the one before: only nodes that give the same again may come before and behind what is left out.
    """

    unkept: frozenset[str]
    """Channels that are set where the loop goes on to such a node."""
    _left_out: dict[str, tuple[RunnableConfig, ChannelVersions]]
    """By run: the parent of the first checkpoint that was left out since the last one, and what was new in all."""

    def leave_out_before(self, nodes: Iterable[str]) -> None:
        """Keep no checkpoint from which the loop goes on to one of `nodes`."""
        self.unkept, self._left_out = frozenset(f"branch:to:{node}" for node in nodes), {}

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The newest checkpoint, which those of this process follow."""
        self._left_out.pop(config["configurable"]["thread_id"], None)  # of an invocation that broke off
        return _followed(await super().aget_tuple(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep the checkpoint, unless it is one of those that are left out."""
        run_id = config["configurable"]["thread_id"]
        parent, versions = self._left_out.pop(run_id, (config, {}))
        versions = {**versions, **new_versions}
        if self.unkept.isdisjoint(checkpoint["channel_values"]):
            return await super().aput(parent, checkpoint, metadata, versions)
        self._left_out[run_id] = parent, versions
        return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a node left behind, where that is an interrupt, its answer or an error.

        The rest is in the checkpoint that follows at once, for one node runs at a time. After a crash in between that
        node runs again, as it may anyway: LangGraph does not wait for these writes (langgraph #8039).
        """
        if any(channel in WRITES_IDX_MAP for channel, _ in writes):
            await super().aput_writes(config, writes, task_id, task_path)


class FencedPostgresSaver(_SparingSaver, AsyncPostgresSaver):
    """A Postgres saver that writes nothing once the driver's lease has gone to somebody else."""

    _pruned: Counter[str]
    """Prunes since the last vacuum, by run."""

    def __init__(self, conn: Any, pipe: Any = None, serde: Any = None) -> None:
        super().__init__(conn, pipe, serde)
        self._pruned = Counter()

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        # The stock method holds one asyncio.Lock around every operation even over a pool (langgraph #7259);
        # a connection of its own for each operation needs no lock.
        pool = cast("AsyncConnectionPool[AsyncConnection[DictRow]]", self.conn)
        held = fence.get()
        async with pool.connection() as connection, connection.cursor(binary=True, row_factory=dict_row) as cursor:
            if held is None or not pipeline:  # LangGraph's reads need no right: they change nothing
                yield cursor
                return
            # Lease and writes go out together. The commit waits for the answer about the lease.
            async with connection.transaction(), connection.pipeline(), connection.cursor() as lease:
                await lease.execute(_LEASE, held)
                yield cursor
                if await lease.fetchone() is None:
                    raise LeaseLost(held[0])

    async def forget_past(self, run_id: str) -> None:
        """Keep only the newest checkpoint of a run; between two invocations, when nothing of it is being written."""
        async with self._cursor(pipeline=True) as cursor:
            for statement in _FORGET:  # in an order that needs no transaction: what the newest uses stays throughout
                await cursor.execute(statement, {"run_id": run_id})
        self._pruned[run_id] += 1
        if self._pruned.total() >= max(VACUUM_EVERY, PRUNES_A_RUN * len(self._pruned)):
            self._pruned.clear()
            await self._vacuum()

    async def _vacuum(self) -> None:
        pool = cast("AsyncConnectionPool[AsyncConnection[DictRow]]", self.conn)
        async with pool.connection() as connection:  # of its own: a vacuum runs in no transaction
            await connection.execute("VACUUM (SKIP_LOCKED) checkpoints, checkpoint_blobs, checkpoint_writes")


class PrunedSqliteSaver(_SparingSaver, AsyncSqliteSaver):
    """A SQLite saver that can forget; the whole file belongs to one process, so it needs no fence."""

    async def forget_past(self, run_id: str) -> None:
        """Keep only the newest checkpoint of a run."""
        async with self.lock:
            for statement in _FORGET_SQLITE:
                await self.conn.execute(statement, (run_id, run_id))
            await self.conn.commit()


Saver = FencedPostgresSaver | PrunedSqliteSaver


@asynccontextmanager
async def open_saver(
    database_url: str | None,
    data_dir: Path,
    *,
    most_idle_s: float = MOST_IDLE_S,
    connections: int = 10,
    leave_out_before: Iterable[str] = (),
) -> AsyncIterator[Saver]:
    """The saver that fits the store, its tables in place; it keeps nothing before the nodes of `leave_out_before`."""
    serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    if database_url is None:
        async with aiosqlite.connect(data_dir / "checkpoints.db") as connection:
            saver = PrunedSqliteSaver(connection, serde=serde)
            saver.leave_out_before(leave_out_before)
            await saver.setup()
            await connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
            yield saver
        return
    conninfo = database_url.replace("postgresql+psycopg://", "postgresql://")
    async with AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=connections,
        timeout=QUEUE_S,
        open=False,
        check=_check_if_idle,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "row_factory": dict_row,
            **CONNECTION_LIMITS,
            "options": f"-c search_path={SCHEMA},public {idle_limit(most_idle_s)}",
        },
    ) as pool:
        postgres = FencedPostgresSaver(cast(Any, pool), serde=serde)
        postgres.leave_out_before(leave_out_before)
        await set_up_postgres(conninfo)
        yield postgres


async def set_up_postgres(conninfo: str, *, within_s: float = SETUP_WITHIN_S) -> None:
    """Create LangGraph's tables, one replica at a time; the others poll, for a waiter would block index builds.

    Raises:
        SetupLockTimeout: another replica has not come to an end within `within_s`.
    """
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row, **CONNECTION_LIMITS
    ) as connection:
        await _take_setup_lock(connection, within_s)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await connection.execute(f"SET search_path TO {SCHEMA}, public")
        await AsyncPostgresSaver(cast(Any, connection)).setup()


async def _take_setup_lock(connection: AsyncConnection[DictRow], within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not await _is_taken(connection):  # noqa: ASYNC110 - another process gives the lock back
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise SetupLockTimeout(
            f"Another process has been setting up the tables of schema {SCHEMA!r} for {within_s:.0f} s. "
            f"Stop it, or end the session that pg_locks shows with locktype advisory and objid {SETUP_KEY}."
        ) from error


async def _is_taken(connection: AsyncConnection[DictRow]) -> bool:
    answer = await connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", (SETUP_KEY,))
    row = await answer.fetchone()
    return row is not None and bool(row["taken"])


def _followed(found: CheckpointTuple | None) -> CheckpointTuple | None:
    """The checkpoint, behind which every later one of this process sorts.

    LangGraph takes the greatest id for the newest, and an id begins with the time at which it was made. By a clock that
    is behind that of whoever drove the run before, what is written now would never be found: the loop would go round
    and round from the old place.
    """
    if found is not None:
        number = UUID(found.checkpoint["id"]).int
        made_at = (number >> 80) << 12 | (number >> 64) & 0xFFF
        clock: Any = ids  # LangGraph keeps the last time that it used here, so that no two ids are alike
        clock._last_v6_timestamp = max(clock._last_v6_timestamp or 0, made_at)
    return found


async def _check_if_idle(connection: AsyncConnection[Any]) -> None:
    """Try a connection that was not used just now."""
    now_s = time.monotonic()
    taken_s = _taken_s.get(connection, now_s)
    if now_s - taken_s > PING_AFTER_S:
        await AsyncConnectionPool.check_connection(connection)
    _taken_s[connection] = now_s
