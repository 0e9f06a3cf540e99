"""Brings the business tables to the newest revision; safe from several replicas at once."""

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from .engine import business_url

LOCK_KEY = 0x616674  # "aft"
LOCK_TIMEOUT_S = 60.0


class MigrationLockTimeout(Exception):
    """Another replica has been migrating for too long."""


def upgrade(database_url: str | None, data_dir: Path = Path(".aft/api"), *, revision: str = "head") -> None:
    """Create or upgrade the tables at `database_url`, or in the SQLite file under `data_dir`."""
    if database_url is None:
        data_dir.mkdir(parents=True, exist_ok=True)
    url = business_url(database_url, data_dir).replace("+aiosqlite", "")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                _take_lock(connection)
            config = Config()
            config.set_main_option("script_location", str(migrations_dir()))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    finally:
        engine.dispose()  # ends the session, and the advisory lock with it


def migrations_dir() -> Path:
    """The Alembic folder: beside the installed package, or at the root of a checkout."""
    installed = Path(__file__).parents[1] / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[4] / "migrations"


def _take_lock(connection: Connection) -> None:
    # Polled, not waited for: a blocked waiter holds a snapshot that concurrent index builds would wait for.
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}):
        connection.rollback()
        if time.monotonic() > deadline:
            raise MigrationLockTimeout(
                f"Another process has held the migration lock for {LOCK_TIMEOUT_S:.0f} s. "
                f"Stop it, or end the session that pg_locks shows with locktype advisory and objid {LOCK_KEY}."
            )
        time.sleep(0.05)
    connection.commit()
