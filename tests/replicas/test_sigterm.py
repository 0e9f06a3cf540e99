"""SIGTERM: the process lets go at once, whatever its clients wait for, and another goes on."""

import asyncio
import signal

import httpx
import pytest

from tests.replicas.replicas import Replicas
from tests.simulated_worker import SimulatedWorker
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio
LEASE_S = 60.0
SOON_S = LEASE_S / 3
"""Long before the lease, the window and the client's wait are over."""


async def test_next_replica_goes_on_soon_although_a_window_and_a_client_wait(
    replicas: Replicas, worker: SimulatedWorker, ticks: Ticks
) -> None:
    for _ in range(2):
        await replicas.start(lease_s=LEASE_S)
    worker.step_s = 5.0
    run_id = await replicas.submit(replicas.started[0], optim={"steps": 20, "batch_size": 4})
    async with asyncio.timeout(30):
        while f"{run_id}:0:0" not in worker.jobs:
            await asyncio.sleep(0.01)
    first = replicas.owner(run_id)
    [second] = [replica for replica in replicas.started if replica is not first]

    async with httpx.AsyncClient(base_url=first.url, timeout=60) as client:
        waiting = asyncio.create_task(client.get(f"/runs/{run_id}/events", params={"after": 10**6, "wait_s": 30}))
        await asyncio.sleep(0.5)
        told_s = ticks.lived_s
        first.signal(signal.SIGTERM)
        async with asyncio.timeout(SOON_S):
            while replicas.lease(run_id) != (second.pid, 2):
                await asyncio.sleep(0.01)
        assert (await waiting).json() == {"events": []}
    assert first.service.process is not None
    await asyncio.to_thread(first.service.process.wait, SOON_S)
    assert ticks.lived_s - told_s < SOON_S, "the client would have waited for half a minute"
    assert worker.windows == [], "the window of fifty seconds is still being trained"
    worker.step_s = 0.0
    await replicas.until(run_id, "succeeded")
    assert worker.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]
    assert replicas.rows("SELECT count(*) FROM windows WHERE run_id = %s", run_id) == [(2,)]
