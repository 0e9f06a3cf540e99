"""Feeds: one long poll a worker, which wakes whoever waits for one of its jobs."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import structlog

from aft_api.errors import AftError
from aft_api.settings import Settings
from aft_api.worker_client import WorkerClient, WorkerUnreachable
from aft_contracts import JobChange, WorkerChanges

log = structlog.get_logger()
LOOK_EVERY_S = 1.0
"""A running job is looked at for its steps no more often than this, in seconds."""
LOOKS_A_SECOND = 20
"""Most looks for steps of all jobs together, a second: live figures must not cost more than training's own traffic."""
TURNS = 8
"""Drives of one worker that are at work at once; the others wait for their turn or for the worker."""
GATHER_S = 0.02
"""Pause between two polls of one worker, for each `TURNS` jobs that somebody waits for: what changes meanwhile is told
at once, and the more there are, the more drives there are to go on with, …"""
MOST_GATHER_S = 0.2
"""… up to this long a pause."""
IDLE_S = 60.0
"""A feed that nobody has listened to for so long ends, in seconds."""


class Ear:
    """Somebody who waits for one job."""

    def __init__(self, run_id: str, now_s: float) -> None:
        self.run_id, self.looked_s = run_id, now_s
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be news of the job."""
        self._news.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns once there may be news, after `timeout_s` at the latest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()
        self.looked_s = asyncio.get_running_loop().time()


class Feed:
    """One worker's stream of changes. It only wakes: how a job stands, the job itself says."""

    def __init__(self, client: WorkerClient, feeds: "Feeds") -> None:
        self._client, self._feeds = client, feeds
        self._ears: dict[tuple[str, str], set[Ear]] = {}
        self._reached = asyncio.Event()
        self._reached.set()
        self._is_well = True
        self.task: asyncio.Task[None] | None = None
        self.turns = asyncio.Semaphore(TURNS)

    @property
    def ears(self) -> list[Ear]:
        """Everybody who waits for a job of this worker."""
        return [ear for ears in self._ears.values() for ear in ears]

    @contextmanager
    def listen(self, run_id: str, kind: str, job_id: str) -> Iterator[Ear]:
        """An ear for one job; to be opened before the job is asked for, so that no change is missed."""
        ear = Ear(run_id, asyncio.get_running_loop().time())
        self._ears.setdefault((kind, job_id), set()).add(ear)
        self._feeds.keep_running(self)
        try:
            yield ear
        finally:
            listeners = self._ears[kind, job_id]
            listeners.discard(ear)
            if not listeners:
                del self._ears[kind, job_id]

    @property
    def gather_s(self) -> float:
        """How long to let changes gather before the next poll, in seconds."""
        return min(MOST_GATHER_S, GATHER_S * max(1.0, len(self._ears) / TURNS))

    async def reached(self, *, at_least_s: float, at_most_s: float) -> None:
        """Returns when it is worth while to ask the worker again: the feed is the one that knocks meanwhile."""
        await asyncio.sleep(at_least_s)
        try:
            async with asyncio.timeout(at_most_s - at_least_s):
                await self._reached.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Poll until nobody has listened for a while."""
        loop = asyncio.get_running_loop()
        known, heard_s = WorkerChanges(stream="", seq=0, is_complete=True), loop.time()
        while self._ears or loop.time() - heard_s < IDLE_S:
            if self._ears:
                heard_s = loop.time()
            try:
                known = await self._client.changes(known.stream, known.seq, wait_s=self._feeds.settings.poll_s)
            except AftError as error:
                if self._is_well:  # said once, not with every try
                    log.warning("feed_broke_off", url=self._client.base_url, reason=str(error))
                self._is_well = False
                if isinstance(error, WorkerUnreachable):
                    self._reached.clear()
                self._wake(self.ears)  # each job is asked itself, and finds out what is wrong
                await asyncio.sleep(self._feeds.settings.retry_s)
                continue
            self._is_well = True
            self._reached.set()
            self._hear(known)
            await asyncio.sleep(self.gather_s)

    def _hear(self, told: WorkerChanges) -> None:
        if not told.is_complete:
            self._wake(self.ears)
        for change in told.changes:
            self._wake(ear for ear in self._ears.get((change.kind, change.job_id), ()) if self._concerns(change, ear))

    def _concerns(self, change: JobChange, ear: Ear) -> bool:
        return change.is_turn or asyncio.get_running_loop().time() - ear.looked_s >= self._feeds.look_every_s

    def _wake(self, ears: Iterator[Ear] | list[Ear]) -> None:
        for ear in ears:
            ear.wake()


class Feeds:
    """The feeds of this process, by the worker's base URL."""

    def __init__(self, http: aiohttp.ClientSession, settings: Settings) -> None:
        self.settings = settings
        self._http = http
        self._feeds: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, base_url: str) -> Feed:
        """The feed of a worker; it polls from when somebody listens."""
        if base_url not in self._feeds:
            self._feeds[base_url] = Feed(WorkerClient(self._http, base_url), self)
        return self._feeds[base_url]

    def nudge(self, run_id: str) -> None:
        """Have whoever waits for a job of this run look at it now: somebody gave the run a command."""
        for feed in self._feeds.values():
            for ear in feed.ears:
                if ear.run_id == run_id:
                    ear.wake()

    @property
    def look_every_s(self) -> float:
        """How often a running job's steps are looked at, in seconds: seldom when there are many jobs."""
        return max(LOOK_EVERY_S, sum(len(feed.ears) for feed in self._feeds.values()) / LOOKS_A_SECOND)

    def keep_running(self, feed: Feed) -> None:
        """Start a feed's polling unless it polls already."""
        if feed.task is None or feed.task.done():
            # A context of its own: the fence of the driver that happened to listen first is not the feed's.
            feed.task = asyncio.create_task(feed.run(), name="feed", context=contextvars.Context())
            self._tasks.add(feed.task)
            feed.task.add_done_callback(self._ended)

    async def close(self) -> None:
        """End all polling."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Jobs are still looked at now and then, and the next listener starts the feed again.
            log.error("feed_broke", exc_info=error)


@asynccontextmanager
async def open_feeds(http: aiohttp.ClientSession, settings: Settings) -> AsyncIterator[Feeds]:
    """Feeds that end with the context; who listens must have ended before."""
    feeds = Feeds(http, settings)
    try:
        yield feeds
    finally:
        await feeds.close()
