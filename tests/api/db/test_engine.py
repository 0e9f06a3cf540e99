"""How the store is opened."""

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from aft_api.clock import utc_now
from aft_api.db.engine import STORE_REFUSALS, Store
from aft_api.db.tables import EventRow
from aft_contracts import EventKind

pytestmark = pytest.mark.anyio
TEXT = "somebody's own words"


async def test_an_error_does_not_say_what_was_to_be_written(store: Store) -> None:
    of_no_run = insert(EventRow).values(
        run_id="nobody", key="k", at=utc_now(), kind=EventKind.WORKER_NOTE, step=0, message=TEXT, details={}
    )
    with pytest.raises(IntegrityError) as raised:
        async with store.sessions.begin() as session:
            await session.execute(of_no_run)
    assert isinstance(raised.value, STORE_REFUSALS)
    assert "INSERT INTO events" in str(raised.value)
    assert TEXT not in str(raised.value)
