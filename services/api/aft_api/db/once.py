"""Writes that are harmless when repeated."""

from typing import Any, cast

from sqlalchemy import CursorResult, Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from .tables import Table


async def insert_once(session: AsyncSession, table: type[Table], **values: Any) -> bool:
    """Insert a row unless one of its unique keys exists already; whether it was inserted."""
    dialect = session.get_bind().dialect.name
    insert: Insert = (
        sqlite.insert(table).values(**values).on_conflict_do_nothing()
        if dialect == "sqlite"
        else postgresql.insert(table).values(**values).on_conflict_do_nothing()
    )
    outcome = cast(CursorResult[Any], await session.execute(insert))
    return outcome.rowcount == 1
