"""Writes that are harmless when repeated."""

from functools import cache
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from aft_api.db.tables import Table


async def insert_once(session: AsyncSession, table: type[Table], **values: Any) -> bool:
    """Insert a row unless one of its unique keys exists already; whether it was inserted."""
    inserted = await session.execute(_statement(table, is_sqlite=session.get_bind().dialect.name == "sqlite"), values)
    return inserted.first() is not None


@cache
def _statement(table: type[Table], *, is_sqlite: bool) -> ReturningInsert[Any]:
    # Built once: to build a statement takes SQLAlchemy as long as to send it.
    dialect = sqlite if is_sqlite else postgresql
    key = table.__mapper__.primary_key[0]
    # Asked by RETURNING: the row count of such an insert is -1 on psycopg.
    statement: ReturningInsert[Any] = dialect.insert(table.__table__).on_conflict_do_nothing().returning(key)
    return statement
