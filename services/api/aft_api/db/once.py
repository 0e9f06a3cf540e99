"""Writes that are harmless when repeated."""

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.db.tables import Table


async def insert_once(session: AsyncSession, table: type[Table], **values: Any) -> bool:
    """Insert a row unless one of its unique keys exists already; whether it was inserted."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    key = table.__mapper__.primary_key[0]
    # Asked by RETURNING: the row count of such an insert is -1 on psycopg.
    inserted = await session.execute(dialect.insert(table).values(**values).on_conflict_do_nothing().returning(key))
    return inserted.first() is not None
