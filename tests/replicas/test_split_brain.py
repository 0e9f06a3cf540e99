"""Split brain: a replica that is frozen past its lease and thawed changes nothing."""

import asyncio
import signal
from dataclasses import dataclass

import pytest

from tests.replicas.replicas import Replica, Replicas
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
LEASE_S = 1.0
STEP_S, SLOW_STEP_S = 0.05, 1.0
"""How long a step takes, and how long one takes while a replica is frozen or thaws: a window must outlast that."""
NOTIFY = {"webhooks": ["http://127.0.0.1:9/"]}
"""Nobody listens there: the messages stay in the outbox."""


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A replica that was stopped while it held a run's lease."""

    replica: Replica
    token: int
    """The lease's fence token."""
    losses: int
    """Leases that its log had given up before."""

    async def thaw(self) -> None:
        """Let it go on until it gives up this lease too, and a while longer."""
        self.replica.signal(signal.SIGCONT)
        async with asyncio.timeout(20):
            while given_up(self.replica) <= self.losses:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)


def given_up(replica: Replica) -> int:
    """How often its log says that it stopped a drive: the lease was gone, or Postgres did not answer in time.

    A replica that thaws says the latter where it was frozen while it asked.
    """
    return replica.log.count("lease_lost") + replica.log.count("lease_uncertain")


async def freeze_owner(replicas: Replicas, worker: SimulatedWorker, run_id: str, *, windows: int) -> Frozen:
    """The replica that drives the run, stopped while the worker trains a window behind these."""
    async with asyncio.timeout(30):
        while True:
            while not (len(worker.windows) >= windows and f"{run_id}:0:{len(worker.windows)}" in worker.jobs):
                await asyncio.sleep(0.01)
            replica = replicas.owner(run_id)
            replica.signal(signal.SIGSTOP)
            # On a slow machine leases of a second change hands on their own: it counts who held it when it stood still.
            owner, token = replicas.lease(run_id)
            if owner == replica.pid:
                return Frozen(replica=replica, token=token, losses=given_up(replica))
            replica.signal(signal.SIGCONT)


async def test_replica_that_thaws_after_the_run_went_on_changes_no_row(
    replicas: Replicas, worker: SimulatedWorker
) -> None:
    for _ in range(2):
        await replicas.start(lease_s=LEASE_S)
    worker.step_s = STEP_S
    run_id = await replicas.submit(replicas.started[0], notify=NOTIFY)
    frozen = await freeze_owner(replicas, worker, run_id, windows=1)
    [other] = [replica for replica in replicas.started if replica is not frozen.replica]
    await replicas.until(run_id, "succeeded")
    other.signal(signal.SIGTERM)  # so that nothing but the thawed one could change anything
    assert other.service.process is not None
    await asyncio.to_thread(other.service.process.wait, 30)
    before, worked = replicas.everything(), (list(worker.windows), dict(worker.fences), dict(worker.runs))
    await frozen.thaw()
    # The thawed one rightly goes on trying to send what is due, and asking the worker how it is.
    outbox, alive = "public.outbox", {"public.outbox", "public.workers"}
    after = replicas.everything()
    assert {name: rows for name, rows in after.items() if name not in alive} == {
        name: rows for name, rows in before.items() if name not in alive
    }
    assert len(after[outbox]) == len(before[outbox]) == 1
    assert (list(worker.windows), dict(worker.fences), dict(worker.runs)) == worked
    assert worker.windows == [f"{run_id}:0:{index}" for index in range(6)]


async def test_replicas_that_freeze_in_turn_train_every_window_once_in_order(
    replicas: Replicas, worker: SimulatedWorker
) -> None:
    for _ in range(2):
        await replicas.start(lease_s=LEASE_S)
    worker.step_s = STEP_S
    run_id = await replicas.submit(replicas.started[0], notify=NOTIFY)
    for windows in (1, 3):
        frozen = await freeze_owner(replicas, worker, run_id, windows=windows)
        worker.step_s = SLOW_STEP_S
        async with asyncio.timeout(20):
            while worker.fences[run_id] <= frozen.token:  # taken over, and the worker knows it
                await asyncio.sleep(0.02)
        await frozen.thaw()
        worker.step_s = STEP_S
    await replicas.until(run_id, "succeeded")
    assert worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
    kinds = [kind for (kind,) in replicas.rows("SELECT kind FROM events WHERE run_id = %s ORDER BY seq", run_id)]
    assert kinds.count("window_committed") == 6
    assert kinds.count("run_succeeded") == 1
    assert replicas.rows("SELECT count(*) FROM outbox") == [(1,)]
    assert replicas.rows("SELECT index, status, end_step FROM windows WHERE run_id = %s ORDER BY index", run_id) == [
        (index, "committed", 10 * index + 10) for index in range(6)
    ]
