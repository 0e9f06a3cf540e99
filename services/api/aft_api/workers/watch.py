"""The watch: asks workers for their heartbeat, gives up those that fall silent, and has the queue served."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from aft_api.db.engine import STORE_ERRORS
from aft_api.errors import AftError
from aft_api.settings import Settings
from aft_api.stop import Stop, Stopped
from aft_api.supervisor.workers import Workers
from aft_api.worker_client import WorkerClient
from aft_api.workers.errors import WorkerNameTaken
from aft_api.workers.queue import give_slots, is_due, tell_without_worker
from aft_api.workers.registry import lose_silent
from aft_contracts import Heartbeat

log = structlog.get_logger()
LOOK_WITHIN_S = 5.0
"""Longest look at one worker."""


@dataclass(kw_only=True)
class Watch:
    """Looks after the workers and the queue, beside every other replica that does the same."""

    workers: Workers
    settings: Settings
    stop: Stop
    on_room: Callable[[], None] = lambda: None
    """Called when runs may be given out that could not be before."""
    has_waiting: bool = False
    """Whether the last round left somebody waiting, or began with somebody."""
    _asked: set[str] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _silent: set[str] = field(default_factory=set)
    _looks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Looks that have not come to an end, by the worker's URL."""
    _has_looked: bool = False
    _steady_since_s: float = 0.0

    async def run(self) -> None:
        """Look at the workers again and again, until the stop is asked for."""
        loop = asyncio.get_running_loop()
        self._steady_since_s = looked_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            while not self.stop.is_asked:
                if loop.time() - looked_s > 3 * self.settings.worker_look_s + LOOK_WITHIN_S:
                    # We were frozen or the store was away: that workers seem silent may be our own deafness.
                    self._steady_since_s = loop.time()
                looked_s = loop.time()
                await self._look_at_all(tasks)
                if loop.time() - self._steady_since_s >= self.settings.worker_lost_s:
                    await self._lose_silent()
                await self._next_look()
            for look in self._looks.values():
                look.cancel()

    def look_soon(self, url: str) -> None:
        """Look at a worker now: it has something to let go of, and somebody waits for that."""
        self._asked.add(url)
        self._woken.set()

    async def serve_queue(self) -> None:
        """Give out what slots there are. Called in every round of the fleet, and mostly finds nothing to do.

        Raises:
            STORE_ERRORS: the store is away.
        """
        async with self.workers.store.reads() as session:
            self.has_waiting = await is_due(session)
        if not self.has_waiting:
            return
        async with self.workers.store.sessions.begin() as session:
            done = await give_slots(session, self.workers.store, self.workers.clock)
            if self._has_looked:
                await tell_without_worker(session, self.workers.urls, self.workers.clock)
        for url in done.evicted_from:
            self.look_soon(url)

    async def _next_look(self) -> None:
        try:
            async with self.stop.breaks_off(), asyncio.timeout(self.settings.worker_look_s):
                await self._woken.wait()
        except (TimeoutError, Stopped):
            return
        finally:
            self._woken.clear()

    async def _look_at_all(self, tasks: asyncio.TaskGroup) -> None:
        """Look at each worker that is not being looked at; one that hangs must not make the others seem silent."""
        urls = {url.rstrip("/") for url in self.workers.urls} | self._asked
        self._asked &= set(self._looks)
        for url in urls - set(self._looks):
            self._looks[url] = tasks.create_task(self._look_at(url), name=f"look at {url}")
        if self._looks:
            await asyncio.wait(self._looks.values(), timeout=self.settings.worker_look_s)
        self._looks = {url: look for url, look in self._looks.items() if not look.done()}
        self._has_looked = True

    async def _look_at(self, url: str) -> None:
        client = WorkerClient(self.workers.http, url)
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                info = await client.info()
                heard = await self.workers.hear(Heartbeat(base_url=url, info=info))
                for run_id, token in heard.drop.items():
                    log.info("run_dropped", run_id=run_id, worker_id=info.worker_id)
                    await client.release(run_id, token)
            if heard.drop:
                self.look_soon(url)  # what it let go of makes room, and may make it one of ours again
        except WorkerNameTaken as error:
            log.warning("worker_name_taken", url=url, detail=str(error))
        except (AftError, TimeoutError) as error:
            if url not in self._silent:  # said once, not with every look
                log.info("worker_silent", url=url, reason=str(error) or type(error).__name__)
            self._silent.add(url)
        except STORE_ERRORS:
            log.exception("heartbeat_not_stored", url=url)
            self._steady_since_s = asyncio.get_running_loop().time()
        else:
            self._silent.discard(url)
            if heard.is_new or heard.drop:
                self.on_room()

    async def _lose_silent(self) -> None:
        workers = self.workers
        try:
            async with workers.store.sessions.begin() as session:
                lost = await lose_silent(
                    session, workers.store, lost_s=self.settings.worker_lost_s, clock=workers.clock
                )
        except STORE_ERRORS:
            log.exception("workers_not_judged")
            self._steady_since_s = asyncio.get_running_loop().time()
            return
        for worker_id in lost:
            log.error("worker_lost", worker_id=worker_id)
        if lost:
            self.on_room()
