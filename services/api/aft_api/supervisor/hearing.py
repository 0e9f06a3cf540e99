"""Hearing: tells the drives of this process what their runs were told through another replica."""

from dataclasses import dataclass, field

import structlog

from aft_api.db.engine import STORE_ERRORS, Store
from aft_api.runs.commands import all_pending
from aft_api.stop import Stop
from aft_api.supervisor.fleet import Fleet

log = structlog.get_logger()
EVERY_S = 0.5


@dataclass(kw_only=True)
class Hearing:
    """Looks for new commands of the runs that are driven here; a command is told once.

    One short read twice a second, rather than LISTEN on a connection of its own: it needs no session of the database,
    which a pooler between may not give, and nothing is missed while a connection is away.
    """

    store: Store
    fleet: Fleet
    stop: Stop
    _told: set[tuple[str, str]] = field(default_factory=set)

    async def run(self) -> None:
        """Look until the stop is asked for. On SQLite this process hears everything anyway."""
        while not self.stop.is_asked and not self.store.is_sqlite:
            try:
                await self.look()
            except STORE_ERRORS as error:
                log.warning("commands_unreadable", error=f"{type(error).__name__}: {error}")
            await self.stop.sleep(EVERY_S)

    async def look(self) -> None:
        """Tell of what is new since the last look."""
        async with self.store.reads() as session:
            pending = await all_pending(session)
        driven = self.fleet.run_ids
        ours = {told for told in pending if told[0] in driven}
        for run_id in {run_id for run_id, _ in ours - self._told}:
            self.fleet.hear(run_id)
        self._told = ours
