"""LangGraph's checkpointer on both stores: fenced by the lease, without the stock saver's global lock, pruned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import aiosqlite
import structlog
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from aft_api.runs.leases import LeaseLost

log = structlog.get_logger()
SCHEMA = "langgraph"
Fence = tuple[str, int]
fence: ContextVar[Fence | None] = ContextVar("fence", default=None)
"""(run id, lease token) of the driver whose context this is; LangGraph copies the context into its own tasks."""

_CLEAR = """
DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_id < (
    SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?)
"""
_CLEAR_WRITES = """
DELETE FROM writes WHERE thread_id = ? AND checkpoint_id < (
    SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?)
"""


class FencedPostgresSaver(AsyncPostgresSaver):
    """A Postgres saver that writes nothing once the driver's lease has gone to somebody else."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:  # noqa: ARG002
        # The stock method holds one asyncio.Lock around every operation even over a pool (langgraph #7259);
        # a connection of its own for each operation needs no lock.
        pool = cast("AsyncConnectionPool[AsyncConnection[DictRow]]", self.conn)
        held = fence.get()
        async with pool.connection() as connection, connection.cursor(binary=True, row_factory=dict_row) as cursor:
            if held is None:
                yield cursor
                return
            async with connection.transaction():
                await _check_lease(cursor, held)
                yield cursor

    async def forget_past(self, run_id: str) -> None:
        """Keep only the newest checkpoint of a run; when another prune is in the way, the next one does it."""
        held = fence.set(None)  # pruning opens its own transaction, and what it deletes nobody needs
        try:
            await self.aprune([run_id], strategy="keep_latest")
        except (SerializationFailure, DeadlockDetected):
            log.info("prune_postponed", run_id=run_id)
        finally:
            fence.reset(held)


class PrunedSqliteSaver(AsyncSqliteSaver):
    """A SQLite saver that can forget; the whole file belongs to one process, so it needs no fence."""

    async def forget_past(self, run_id: str) -> None:
        """Keep only the newest checkpoint of a run."""
        async with self.lock:
            await self.conn.execute(_CLEAR_WRITES, (run_id, run_id))
            await self.conn.execute(_CLEAR, (run_id, run_id))
            await self.conn.commit()


Saver = FencedPostgresSaver | PrunedSqliteSaver


@asynccontextmanager
async def open_saver(database_url: str | None, data_dir: Path) -> AsyncIterator[Saver]:
    """The saver that fits the store, its tables in place."""
    serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    if database_url is None:
        async with aiosqlite.connect(data_dir / "checkpoints.db") as connection:
            saver = PrunedSqliteSaver(connection, serde=serde)
            await saver.setup()
            yield saver
        return
    conninfo = database_url.replace("postgresql+psycopg://", "postgresql://")
    async with AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=10,
        open=False,
        check=AsyncConnectionPool.check_connection,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "row_factory": dict_row,
            "connect_timeout": 10,
            "options": f"-c search_path={SCHEMA},public",
        },
    ) as pool:
        postgres = FencedPostgresSaver(cast(Any, pool), serde=serde)
        await set_up_postgres(conninfo)
        yield postgres


async def set_up_postgres(conninfo: str) -> None:
    """Create LangGraph's tables, one replica at a time; the others poll, for a waiter would block index builds."""
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row, connect_timeout=10
    ) as connection:
        while True:
            taken = await (await connection.execute("SELECT pg_try_advisory_lock(0x616675) AS taken")).fetchone()
            if taken is not None and taken["taken"]:
                break
            await asyncio.sleep(0.05)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await connection.execute(f"SET search_path TO {SCHEMA}, public")
        await AsyncPostgresSaver(cast(Any, connection)).setup()


async def _check_lease(cursor: AsyncCursor[DictRow], held: Fence) -> None:
    await cursor.execute("SELECT 1 AS ours FROM public.runs WHERE run_id = %s AND lease_token = %s FOR SHARE", held)
    if await cursor.fetchone() is None:
        raise LeaseLost(held[0])
