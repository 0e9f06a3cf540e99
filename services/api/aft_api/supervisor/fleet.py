"""The fleet: claims runs that want to be driven, one task each, and keeps their leases alive."""

import asyncio
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from aft_api.artifacts import Artifacts
from aft_api.clock import Clock, loop_s
from aft_api.db.engine import STORE_ERRORS, Store, is_away
from aft_api.db.fence import LeaseLost, fenced
from aft_api.runs.leases import claim_runs, release_all, release_lease, renew_leases
from aft_api.runs.repository import get_run, note_run
from aft_api.settings import Settings
from aft_api.stop import Stop, Stopped
from aft_api.supervisor.driver import Driver
from aft_api.supervisor.graph import Loop
from aft_api.supervisor.ports import Ports
from aft_api.supervisor.saver import Saver
from aft_api.supervisor.turns import Turn
from aft_api.supervisor.workers import Workers
from aft_api.workers.watch import Watch
from aft_contracts import FINISHED, Problem

log = structlog.get_logger()
MOST_RUNS = 1000
CLAIM_AT_ONCE = 64
"""Runs claimed in one round; replicas that come at the same time share what is free."""
CLAIM_EVERY_S = 0.5
CLAIM_AGAIN_S = 0.05
"""Pause after a round that found as many runs as it may take: time for the other replicas' rounds."""
RELEASE_WITHIN_S = 5.0
CLAIM_SHARE = 0.1
"""Of `lease_s` this is for others to claim in what a dead process held: a lease is written for the rest."""


def _new_owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(kw_only=True)
class Drive:
    """One run that is driven here, and how long that is ours to do."""

    task: asyncio.Task[None]
    token: int
    until_s: float
    """End of the lease by this machine's monotonic clock, counted from before it was asked for: never too late."""


@dataclass(kw_only=True)
class Fleet:
    """The runs that this process drives."""

    store: Store
    """For leases."""
    driving: Store
    """For drivers: the same database, by connections of their own."""
    loop: Loop
    saver: Saver
    settings: Settings
    clock: Clock
    workers: Workers
    watch: Watch
    artifacts: Artifacts
    stop: Stop
    owner: str = field(default_factory=_new_owner)
    _drives: dict[str, Drive] = field(default_factory=dict)
    _renewals: set[asyncio.Task[set[str]]] = field(default_factory=set)
    """The one under way, and those that were given up and have not come to their end."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def driven(self) -> int:
        """How many runs are driven here now."""
        return len(self._drives)

    @property
    def run_ids(self) -> set[str]:
        """The runs that are driven here now."""
        return set(self._drives)

    @property
    def _valid_s(self) -> float:
        """How long a lease is written for, in seconds."""
        return (1 - CLAIM_SHARE) * self.settings.lease_s

    def wake(self) -> None:
        """Look for runs to drive now, not at the next round."""
        self._woken.set()

    def hear(self, run_id: str) -> None:
        """A run was told something: its drive looks now, and if it has none it gets one."""
        self.wake()
        self.workers.feeds.nudge(run_id)

    async def run(self) -> None:
        """Drive runs until the stop is asked for; then let go of them, so that the next process goes on at once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep_leases(), name="leases")
                while not self.stop.is_asked:
                    is_full_round = await self._claim(tasks)
                    await self._next_round(CLAIM_AGAIN_S if is_full_round else CLAIM_EVERY_S)
                await self._drain()
                keeping.cancel()
        finally:
            if self._renewals:
                await asyncio.wait(self._renewals, timeout=RELEASE_WITHIN_S)
            await self._release_all()

    async def _next_round(self, pause_s: float) -> None:
        with suppress(Stopped, TimeoutError):
            async with self.stop.breaks_off(), asyncio.timeout(pause_s):
                await self._woken.wait()
        self._woken.clear()

    async def _claim(self, tasks: asyncio.TaskGroup) -> bool:
        """Take what is free; whether that was all that a round may take."""
        limit = min(CLAIM_AT_ONCE, MOST_RUNS - len(self._drives))
        if limit <= 0:
            return False
        until_s = loop_s() + self._valid_s
        try:
            await self.watch.serve_queue()
            claimed = await claim_runs(self.store, self.owner, lease_s=self._valid_s, limit=limit)
        except STORE_ERRORS:
            log.exception("claim_failed")
            return False
        for run_id, token in claimed.items():
            if run_id in self._drives:  # we were frozen past its lease, and have just taken it from ourselves
                self._cut_off(run_id, "lease_lost")
                await self._release(run_id, token)
                continue
            task = tasks.create_task(self._drive(run_id, token), name=f"drive {run_id}")
            self._drives[run_id] = Drive(task=task, token=token, until_s=until_s)
        return len(claimed) == limit

    async def _drive(self, run_id: str, token: int) -> None:
        """Drive one run. What breaks its drive costs this run alone, whatever it is, and no other hears of it."""
        is_broken = False
        try:
            with fenced(run_id, token):
                await self._go(run_id, token)
        except LeaseLost:
            log.warning("lease_lost", run_id=run_id)
        except Stopped:
            log.info("drive_left", run_id=run_id)
        except Exception as error:
            is_broken = not is_away(error)
            if is_broken:
                log.exception("drive_broke", run_id=run_id)  # nobody foresaw it, and it may be the same each time
                await self._note_broken(run_id, token, error)
            else:
                log.exception("drive_broke_off", run_id=run_id)  # claimed again once the store is back
        finally:
            self._drives.pop(run_id, None)
            # Of one that broke the lease runs out, unrenewed: pause enough before the next try, by whichever replica.
            if not is_broken:
                await self._release(run_id, token)
            if self.watch.has_waiting:  # whatever ended this drive may have left a slot
                self.wake()

    async def _go(self, run_id: str, token: int) -> None:
        place = await self.workers.placement(run_id)
        feed = self.workers.feeds.of(place.client.base_url)
        ports = Ports(
            store=self.driving,
            clock=self.clock,
            settings=self.settings,
            worker=place.client,
            worker_id=place.worker_id,
            feed=feed,
            turn=Turn(feed.turns),
            fence_token=token,
            stop=self.stop,
        )
        await Driver(loop=self.loop, saver=self.saver, ports=ports, artifacts=self.artifacts, run_id=run_id).drive()

    async def _note_broken(self, run_id: str, token: int, error: Exception) -> None:
        """Let a run that has not ended say that its drive broke, if that can be written."""
        try:
            with fenced(run_id, token):
                async with self.driving.sessions.begin() as session:
                    if (await get_run(session, run_id, for_update=True)).status not in FINISHED:
                        await note_run(session, run_id, problem=_broken_problem(error).model_dump(mode="json"))
        except Exception:
            log.exception("broken_drive_not_noted", run_id=run_id)

    async def _release(self, run_id: str, token: int) -> None:
        try:
            await release_lease(self.store, run_id, token)
        except STORE_ERRORS:
            log.exception("release_failed", run_id=run_id)  # the lease expires instead

    async def _keep_leases(self) -> None:
        """Renew in time; while that fails, stop each drive before its lease can have gone to somebody else."""
        lease_s = self._valid_s
        while True:
            renewed = await self._renew(within_s=lease_s / 6)
            if not renewed:
                # The next failure is seen up to lease/15 + lease/6 from now; the rest is for the drive to end in.
                self._cut_off_expiring(within_s=lease_s / 3)
            await asyncio.sleep(lease_s / 3 if renewed else lease_s / 15)

    async def _renew(self, *, within_s: float) -> bool:
        """Renew all leases; whether the store answered."""
        held = {run_id: drive.token for run_id, drive in self._drives.items()}
        if not held:
            return True
        until_s = loop_s() + self._valid_s
        renewal = asyncio.create_task(
            renew_leases(self.store, self.owner, held, lease_s=self._valid_s), name="renewal of leases"
        )
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewal_ended)
        try:
            done, _ = await asyncio.wait({renewal}, timeout=within_s)
            kept = renewal.result() if done else None
        except STORE_ERRORS as error:
            log.warning("renewal_failed", error=f"{type(error).__name__}: {error}")
            return False
        finally:
            # Not waited for: psycopg gives a store that is away ten seconds to confirm it, and leases end meanwhile.
            renewal.cancel()
        if kept is None:
            log.warning("renewal_failed", error=f"no answer within {within_s:.1f} s")
            return False
        for run_id, token in held.items():
            drive = self._drives.get(run_id)
            if drive is None or drive.token != token:
                continue  # it has ended meanwhile
            if run_id in kept:
                drive.until_s = until_s
            else:
                self._cut_off(run_id, "lease_lost")
        return True

    def _renewal_ended(self, renewal: asyncio.Task[set[str]]) -> None:
        self._renewals.discard(renewal)
        if not renewal.cancelled() and (error := renewal.exception()) is not None:
            log.debug("renewal_ended", error=repr(error))  # told already, by whoever waited for it or gave it up

    def _cut_off_expiring(self, *, within_s: float) -> None:
        for run_id, drive in self._drives.items():
            if drive.until_s - loop_s() <= within_s:
                self._cut_off(run_id, "lease_uncertain")

    def _cut_off(self, run_id: str, reason: str) -> None:
        log.warning(reason, run_id=run_id)
        self._drives[run_id].task.cancel()

    async def _drain(self) -> None:
        """Let every drive come to its next boundary within `drain_s`; break off the others."""
        drives = {drive.task for drive in self._drives.values()}
        if not drives:
            return
        _, late = await asyncio.wait(drives, timeout=self.settings.drain_s)
        for task in late:
            task.cancel()
        log.info("drained", runs=len(drives), broken_off=len(late))

    async def _release_all(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await release_all(self.store, self.owner)
        except (TimeoutError, *STORE_ERRORS):
            log.exception("release_failed")  # what is left expires


def _broken_problem(error: Exception) -> Problem:
    return Problem(
        title="The drive of the run broke.",
        status=500,
        code="internal_error",
        detail=f"{type(error).__name__}: the API's log has the trace. "
        "The run is taken up again once its lease is over.",
    )
