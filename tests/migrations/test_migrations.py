"""Migrations: every revision, on both stores, alone and in a crowd."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, create_engine

from aft_api.db.engine import business_url
from aft_api.db.migrate import migrations_dir, upgrade
from aft_api.db.tables import Table

REVISIONS = sorted(script.revision for script in ScriptDirectory(str(migrations_dir())).walk_revisions())
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Rows = dict[str, list[dict[str, Any]]]


@contextmanager
def connected(database_url: str | None, data_dir: Path) -> Iterator[Connection]:
    """A connection to the migrated store."""
    engine = create_engine(business_url(database_url, data_dir).replace("+aiosqlite", ""))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def differences(database_url: str | None, data_dir: Path) -> list[object]:
    """What the tables in the code have that the migrated store has not, and the other way round."""
    with connected(database_url, data_dir) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Table.metadata))


def tables_of(connection: Connection) -> MetaData:
    """The business tables as they are, whatever the code says."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != "alembic_version")
    return found


def fill(connection: Connection) -> Rows:
    """Rows in every table there is: the first has a value in every column, the second only where it must."""
    written: Rows = {}
    for table in tables_of(connection).sorted_tables:
        rows = [
            {
                column.name: value_for(column, number, written)
                for column in table.columns
                if number == 0 or not column.nullable
            }
            for number in range(2)
        ]
        for row in rows:
            connection.execute(table.insert().values(**row))
        written[table.name] = rows
    return written


def value_for(column: Column[Any], number: int, written: Rows) -> Any:
    """A value that fits the column: the one it refers to, or one of its own."""
    for key in column.foreign_keys:
        return written[key.column.table.name][number][key.column.name]
    match column.type:
        case sqlalchemy.JSON():
            return {"number": number, "of": [column.name]}
        case sqlalchemy.Boolean():
            return number == 0
        case sqlalchemy.DateTime():
            return MOMENT
        case sqlalchemy.Integer():
            return number + 1
        case sqlalchemy.Float():
            return number + 0.5
        case sqlalchemy.String():
            return f"{column.name}-{number}"[: column.type.length or 100]
    raise AssertionError(f"{column} has a type that this test knows no value for: {column.type!r}")


def missing(connection: Connection, written: Rows) -> list[tuple[str, dict[str, Any]]]:
    """Rows that are not there any more with the values they had, in the columns that are still there."""
    tables = tables_of(connection).tables
    lost = []
    for name, rows in written.items():
        found = [dict(row._mapping) for row in connection.execute(tables[name].select())]
        kept = set(tables[name].columns.keys())
        for row in rows:
            expected = {column: value for column, value in row.items() if column in kept}
            if not any(all(plain(one[column]) == plain(value) for column, value in expected.items()) for one in found):
                lost.append((name, expected))
    return lost


def plain(value: Any) -> Any:
    """A moment without its zone, which SQLite forgets."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def test_migrated_store_is_what_the_code_expects(tmp_path: Path, database_url: str | None) -> None:
    upgrade(database_url, tmp_path)
    assert differences(database_url, tmp_path) == []


def test_migrating_again_changes_nothing(tmp_path: Path, database_url: str | None) -> None:
    upgrade(database_url, tmp_path)
    upgrade(database_url, tmp_path)
    assert differences(database_url, tmp_path) == []


def test_several_replicas_may_migrate_at_once(postgres_url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(5) as crowd:
        outcomes = [crowd.submit(upgrade, postgres_url, tmp_path) for _ in range(5)]
    assert [outcome.exception() for outcome in outcomes] == [None] * 5
    assert differences(postgres_url, tmp_path) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_every_revision_arrive_at_the_newest(revision: str, tmp_path: Path, database_url: str | None) -> None:
    upgrade(database_url, tmp_path, revision=revision)
    with connected(database_url, tmp_path) as connection:
        written = fill(connection)
    assert {"runs", "windows", "events", "outbox"} <= set(written)
    upgrade(database_url, tmp_path)
    with connected(database_url, tmp_path) as connection:
        assert missing(connection, written) == []
    assert differences(database_url, tmp_path) == []


def test_row_that_a_migration_loses_is_missed(tmp_path: Path, database_url: str | None) -> None:
    upgrade(database_url, tmp_path)
    with connected(database_url, tmp_path) as connection:
        written = fill(connection)
        connection.execute(sqlalchemy.text("DELETE FROM evaluations WHERE step = 2"))
        connection.execute(sqlalchemy.text("UPDATE outbox SET attempts = 7 WHERE attempts = 1"))
        assert [name for name, _ in missing(connection, written)] == ["evaluations", "outbox"]


def test_revisions_follow_each_other_in_one_line() -> None:
    scripts = ScriptDirectory(str(migrations_dir()))
    assert len(scripts.get_heads()) == 1
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(REVISIONS))
