"""How the store is opened."""

from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from aft_api.clock import utc_now
from aft_api.db.engine import CONNECTION_LIMITS, STORE_REFUSALS, Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.db.tables import EventRow
from aft_api.supervisor.saver import open_saver
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


async def test_a_database_host_that_vanishes_is_not_waited_for_as_long_as_the_kernel_does(
    tmp_path: Path, postgres_url: str
) -> None:
    upgrade(postgres_url, tmp_path)
    store = open_store(postgres_url, tmp_path)
    async with store.engine.connect() as connection, open_saver(postgres_url, tmp_path) as saver:
        ours = (await connection.get_raw_connection()).driver_connection
        async with cast(Any, saver.conn).connection() as langgraphs:
            for one in (ours, langgraphs):
                told = cast(Any, one).info.get_parameters()
                assert {name: int(told[name]) for name in CONNECTION_LIMITS} == CONNECTION_LIMITS
    await store.engine.dispose()
