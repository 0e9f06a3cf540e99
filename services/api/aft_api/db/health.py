"""Whether the store answers."""

from sqlalchemy import text

from aft_api.db.engine import STORE_ERRORS, Store


async def answers(store: Store) -> bool:
    """Whether the store answers a question now."""
    try:
        async with store.reads() as session:
            await session.execute(text("SELECT 1"))
    except STORE_ERRORS:
        return False
    return True
