"""Migrations: every revision, on both stores, alone and in a crowd."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from aft_api.db.engine import business_url
from aft_api.db.migrate import migrations_dir, upgrade
from aft_api.db.tables import Table


def differences(database_url: str | None, data_dir: Path) -> list[object]:
    """What the tables in the code have that the migrated store has not, and the other way round."""
    engine = create_engine(business_url(database_url, data_dir).replace("+aiosqlite", ""))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, Table.metadata))
    finally:
        engine.dispose()


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


@pytest.mark.parametrize(
    "revision", sorted(path.stem.split("_")[0] for path in (migrations_dir() / "versions").glob("*.py"))
)
def test_every_revision_can_be_reached_and_left_upwards(
    revision: str, tmp_path: Path, database_url: str | None
) -> None:
    upgrade(database_url, tmp_path, revision=revision)
    engine = create_engine(business_url(database_url, tmp_path).replace("+aiosqlite", ""))
    assert "runs" in inspect(engine).get_table_names()
    engine.dispose()
    upgrade(database_url, tmp_path)
    assert differences(database_url, tmp_path) == []
