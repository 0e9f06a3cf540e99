"""Opens the business store: SQLite in a file by default, Postgres by URL."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
import psycopg_pool
from sqlalchemy import ColumnElement, Connection, Double, Engine, event, literal_column
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from aft_api.db.fence import check_fence

BUSY_TIMEOUT_MS = 15_000
MOST_IDLE_S = 15.0
QUEUE_S = 60.0
PING_AFTER_S = 1.0
"""A connection that stood idle for so long is tried before it is used; one that breaks sooner means a store away."""
PLAIN_WRITES = {"synchronize_session": False}
"""What an UPDATE changes is read anew where it is needed; looking for it among loaded rows takes as long."""
OPTIONS: dict[str, Any] = {
    "hide_parameters": True,
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}
"""An error's trace in the log does not say what was to be written, which may be somebody's text. A window's result is
tens of kilobytes of JSON: the standard library would take a thirtieth of a cycle for it."""
STORE_ERRORS = (SQLAlchemyError, psycopg.Error, psycopg_pool.PoolTimeout, sqlite3.Error)
"""What a store that is away raises: the work is put down and taken up again, no run fails for it."""
STORE_REFUSALS = (
    DataError,
    IntegrityError,
    psycopg.DataError,
    psycopg.IntegrityError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
)
"""What a store raises that is there and will not have what it is given: it says the same each time."""


def is_away(error: Exception) -> bool:
    """Whether the store did not answer: what was asked may be asked again later."""
    return isinstance(error, STORE_ERRORS) and not isinstance(error, STORE_REFUSALS)


CONNECTION_LIMITS: dict[str, Any] = {
    "connect_timeout": 10,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""libpq's own limits, in seconds and, for what is sent and not acknowledged, milliseconds. A host that vanishes without
a word would else be waited for until the kernel gives up, some fifteen minutes."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The business store: how to open sessions on it, and its clock."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    """For transactions that may write; a driver's begin only under its lease, see `db/fence.py`."""
    reads: async_sessionmaker[AsyncSession]
    """For those that only read: on SQLite they wait for no writer."""

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded store."""
        return self.engine.dialect.name == "sqlite"

    @property
    def now_s(self) -> ColumnElement[float]:
        """The database's own clock, in seconds since 1970; leases are measured by it and by nothing else."""
        if self.is_sqlite:
            return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double())
        return literal_column("extract(epoch from clock_timestamp())::double precision", Double())


def business_url(database_url: str | None, data_dir: Path) -> str:
    """SQLAlchemy's URL for the business tables; `postgres://` and `postgresql://` both mean psycopg 3."""
    if database_url is None:
        return f"sqlite+aiosqlite:///{data_dir.resolve() / 'control.db'}"
    url = make_url(database_url)
    if url.get_backend_name() in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


def open_store(
    database_url: str | None, data_dir: Path, *, most_idle_s: float = MOST_IDLE_S, connections: int = 20
) -> Store:
    """A store on `database_url`, or on a SQLite file in `data_dir`; nothing is connected yet.

    At most so many `connections` to Postgres are open at once, and who waits for one waits `QUEUE_S` at most.

    A transaction that stands idle for `most_idle_s` is ended by Postgres: a process that is frozen in one would
    otherwise keep others from the rows it has locked, for as long as it is frozen.
    """
    url = business_url(database_url, data_dir)
    if url.startswith("sqlite"):
        engine = create_async_engine(url, **OPTIONS)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
    else:
        engine = create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=QUEUE_S,
            connect_args={**CONNECTION_LIMITS, "options": idle_limit(most_idle_s)},
            **OPTIONS,
        )
        event.listen(engine.sync_engine, "checkout", _ping_if_idle(engine.sync_engine))
    event.listen(engine.sync_engine, "begin", check_fence)
    return Store(
        engine=engine,
        sessions=async_sessionmaker(engine, expire_on_commit=False, execution_options=PLAIN_WRITES),
        reads=async_sessionmaker(_for_reads(engine), expire_on_commit=False),
    )


def _for_reads(engine: AsyncEngine) -> AsyncEngine:
    # At READ COMMITTED each statement sees its own moment anyway: no transaction saves two of three messages.
    # SQLite's readers do share one moment, and a transaction there costs no message.
    if engine.dialect.name == "sqlite":
        return engine.execution_options(aft_reads=True)
    return engine.execution_options(aft_reads=True, isolation_level="AUTOCOMMIT")


def _ping_if_idle(engine: Engine) -> Callable[[DBAPIConnection, ConnectionPoolEntry, object], None]:
    def checkout(connection: DBAPIConnection, entry: ConnectionPoolEntry, _: object) -> None:
        now_s = time.monotonic()
        try:
            if now_s - entry.info.get("taken_s", now_s) > PING_AFTER_S:
                engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise DisconnectionError from error  # the pool opens another one instead
        entry.info["taken_s"] = now_s

    return checkout


def idle_limit(most_idle_s: float) -> str:
    """Postgres's option that ends a transaction which stands idle for so long."""
    return f"-c idle_in_transaction_session_timeout={max(1, round(most_idle_s * 1000))}"


def _configure_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock in SQLite: it fails at once.
    reads = connection.get_execution_options().get("aft_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
