"""The fleet: claims runs that want to be driven, one task each, and keeps their leases alive."""

import asyncio
import os
import secrets
import socket
from dataclasses import dataclass, field

import structlog

from aft_api.artifacts import Artifacts
from aft_api.clock import Clock
from aft_api.db.engine import STORE_ERRORS, Store
from aft_api.runs.leases import LeaseLost, claim_runs, release_lease, renew_leases
from aft_api.settings import Settings
from aft_api.supervisor.driver import Driver
from aft_api.supervisor.graph import Loop
from aft_api.supervisor.ports import Ports
from aft_api.supervisor.saver import Saver
from aft_api.supervisor.workers import Workers

log = structlog.get_logger()
MOST_RUNS = 1000
CLAIM_EVERY_S = 1.0


def _new_owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(kw_only=True)
class Fleet:
    """The runs that this process drives."""

    store: Store
    loop: Loop
    saver: Saver
    settings: Settings
    clock: Clock
    workers: Workers
    artifacts: Artifacts
    owner: str = field(default_factory=_new_owner)
    _drives: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look for runs to drive now, not at the next round."""
        self._woken.set()

    async def run(self) -> None:
        """Drive runs until cancelled; then let go of them, so that the next process goes on at once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._renew_forever())
                while True:
                    await self._claim(tasks)
                    await self._next_round()
        finally:
            async with asyncio.timeout(self.settings.drain_s):
                await self._release_all()

    async def _next_round(self) -> None:
        try:
            async with asyncio.timeout(CLAIM_EVERY_S):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _claim(self, tasks: asyncio.TaskGroup) -> None:
        try:
            claimed = await claim_runs(
                self.store, self.owner, lease_s=self.settings.lease_s, limit=MOST_RUNS - len(self._drives)
            )
        except STORE_ERRORS:
            log.exception("claim_failed")
            return
        for run_id, token in claimed.items():
            self._drives[run_id] = tasks.create_task(self._drive(run_id, token), name=f"drive {run_id}")

    async def _drive(self, run_id: str, token: int) -> None:
        try:
            worker = await self.workers.choose(run_id)
            ports = Ports(store=self.store, clock=self.clock, settings=self.settings, worker=worker, fence_token=token)
            await Driver(loop=self.loop, saver=self.saver, ports=ports, artifacts=self.artifacts, run_id=run_id).drive()
        except LeaseLost:
            log.warning("lease_lost", run_id=run_id)
        except STORE_ERRORS:
            log.exception("drive_broke_off", run_id=run_id)  # the lease ends by itself and the run is claimed again
        finally:
            self._drives.pop(run_id, None)
            await asyncio.shield(self._release(run_id, token))

    async def _release(self, run_id: str, token: int) -> None:
        try:
            await release_lease(self.store, run_id, token)
        except STORE_ERRORS:
            log.exception("release_failed", run_id=run_id)  # the lease expires instead

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_s / 3)
            held = set(self._drives)
            if not held:
                continue
            try:
                kept = await renew_leases(self.store, self.owner, held, lease_s=self.settings.lease_s)
            except STORE_ERRORS:
                log.exception("renewal_failed")
                continue
            for run_id in held - kept:
                self._cancel(run_id)

    def _cancel(self, run_id: str) -> None:
        task = self._drives.get(run_id)
        if task is not None:
            log.warning("lease_lost", run_id=run_id)
            task.cancel()

    async def _release_all(self) -> None:
        await asyncio.gather(*self._drives.values(), return_exceptions=True)
