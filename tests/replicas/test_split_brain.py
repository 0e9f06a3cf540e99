"""Split brain: a replica that is frozen past its lease and thawed changes nothing."""

import asyncio
import signal

import pytest

from tests.replicas.replicas import Replica, Replicas
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
LEASE_S = 1.0
STEP_S, SLOW_STEP_S = 0.05, 1.0
"""How long a step takes, and how long one takes while a replica is frozen or thaws: a window must outlast that."""
NOTIFY = {"webhooks": ["http://127.0.0.1:9/"]}
"""Nobody listens there: the messages stay in the outbox."""


async def owner_mid_window(replicas: Replicas, worker: SimulatedWorker, run_id: str, *, windows: int) -> Replica:
    """The replica that drives the run, while the worker trains a window behind these."""
    async with asyncio.timeout(30):
        while not (len(worker.windows) >= windows and f"{run_id}:0:{len(worker.windows)}" in worker.jobs):
            await asyncio.sleep(0.01)
    return replicas.owner(run_id)


async def thaw(replica: Replica, lost: int) -> None:
    """Let a frozen replica go on until it has said so often that it lost a lease, and a while longer."""
    replica.signal(signal.SIGCONT)
    async with asyncio.timeout(20):
        while replica.log.count("lease_lost") < lost:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)


async def test_replica_that_thaws_after_the_run_went_on_changes_no_row(
    replicas: Replicas, worker: SimulatedWorker
) -> None:
    for _ in range(2):
        await replicas.start(lease_s=LEASE_S)
    worker.step_s = STEP_S
    run_id = await replicas.submit(replicas.started[0], notify=NOTIFY)
    frozen = await owner_mid_window(replicas, worker, run_id, windows=1)
    frozen.signal(signal.SIGSTOP)
    [other] = [replica for replica in replicas.started if replica is not frozen]
    await replicas.until(run_id, "succeeded")
    other.signal(signal.SIGTERM)  # so that nothing but the thawed one could change anything
    assert other.service.process is not None
    await asyncio.to_thread(other.service.process.wait, 30)
    before, worked = replicas.everything(), (list(worker.windows), dict(worker.fences), dict(worker.runs))
    await thaw(frozen, lost=1)
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
    for turn, windows in enumerate((1, 3)):
        frozen = await owner_mid_window(replicas, worker, run_id, windows=windows)
        worker.step_s = SLOW_STEP_S
        frozen.signal(signal.SIGSTOP)
        async with asyncio.timeout(20):
            while worker.fences[run_id] < turn + 2:  # taken over, and the worker knows it
                await asyncio.sleep(0.02)
        await thaw(frozen, lost=frozen.log.count("lease_lost") + 1)
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
