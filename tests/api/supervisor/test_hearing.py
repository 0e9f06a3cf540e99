"""What was told through another replica is told on, once, to the drives that are here."""

from types import SimpleNamespace
from typing import Any

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.runs.commands import pending_commands, settle_command
from aft_api.runs.service import Caller, give_command
from aft_api.stop import Stop
from aft_api.supervisor.hearing import Hearing
from aft_contracts import Pause, SetGradClip
from tests.api.conftest import placed_run

pytestmark = pytest.mark.anyio
ANN = Caller(user="ann", channel="cli")


async def test_each_new_command_of_a_driven_run_is_heard_once(store: Store) -> None:
    ours, theirs = await placed_run(store), await placed_run(store)
    heard: list[str] = []
    fleet: Any = SimpleNamespace(run_ids={ours}, hear=heard.append)
    hearing = Hearing(store=store, fleet=fleet, stop=Stop())
    await hearing.look()
    assert heard == []
    for run_id in (ours, theirs):
        await give_command(store, run_id, Pause(), command_id="k", caller=ANN, clock=utc_now)
    await hearing.look()
    await hearing.look()
    assert heard == [ours]
    await give_command(store, ours, SetGradClip(max_norm=1.0), command_id="l", caller=ANN, clock=utc_now)
    await hearing.look()
    assert heard == [ours, ours]
    async with store.sessions.begin() as session:
        for told in await pending_commands(session, ours):
            await settle_command(session, told, "done", step=0, clock=utc_now)
    await hearing.look()
    assert heard == [ours, ours]


async def test_run_that_comes_here_is_told_of_what_waits(store: Store) -> None:
    run_id = await placed_run(store)
    await give_command(store, run_id, Pause(), command_id="k", caller=ANN, clock=utc_now)
    heard: list[str] = []
    fleet: Any = SimpleNamespace(run_ids=set(), hear=heard.append)
    hearing = Hearing(store=store, fleet=fleet, stop=Stop())
    await hearing.look()
    fleet.run_ids.add(run_id)
    await hearing.look()
    assert heard == [run_id]
