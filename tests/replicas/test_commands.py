"""Commands and answers through any replica: heard by the owner while its window runs, and one answer of two."""

import asyncio

import httpx
import pytest

from tests.api.supervisor.test_loop import EARLY_POISON
from tests.replicas.replicas import Replicas
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
A_LONG_STEP_S = 10.0


async def test_of_two_answers_at_once_through_two_replicas_one_counts(
    replicas: Replicas, worker: SimulatedWorker
) -> None:
    worker.poison = {EARLY_POISON}
    one, two = await replicas.start(), await replicas.start()
    run_ids = [await replicas.submit(one, repair={"ask_before_rollback": True}) for _ in range(3)]
    async with httpx.AsyncClient(timeout=30) as client:
        for run_id in run_ids:
            await replicas.until(run_id, "waiting")
            answers = await asyncio.gather(
                *(
                    client.post(
                        f"{replica.url}/runs/{run_id}/commands", json={"kind": kind}, headers={"X-Aft-User": user}
                    )
                    for replica, kind, user in ((one, "approve", "ann"), (two, "reject", "bob"))
                )
            )
            assert sorted(answer.status_code for answer in answers) == [202, 409]
            late = next(answer.json() for answer in answers if answer.status_code == 409)
            winner, kind = ("bob", "reject") if answers[1].status_code == 202 else ("ann", "approve")
            assert late["code"] == "review_already_decided"
            assert (late["facts"]["decided_by"], late["facts"]["answer"]) == (winner, kind)
            await replicas.until(run_id, "succeeded")
            [(generation,)] = replicas.rows("SELECT generation FROM runs WHERE run_id = %s", run_id)
            assert generation == (1 if winner == "ann" else 0)
            told = replicas.rows("SELECT given_by, status FROM commands WHERE run_id = %s", run_id)
            assert sorted(told) == sorted([(winner, "applied"), ({"ann": "bob", "bob": "ann"}[winner], "refused")])


async def test_pause_through_another_replica_ends_the_window_early(replicas: Replicas, worker: SimulatedWorker) -> None:
    worker.step_s = 0.5
    one = await replicas.start(poll_s=60)
    other = await replicas.start(poll_s=60)
    run_id = await replicas.submit(one)
    async with asyncio.timeout(60):
        while not any(job.progress for job in worker.jobs.values()):
            await asyncio.sleep(0.05)
        await worker.slow_down(f"{run_id}:0:0", A_LONG_STEP_S)
    await asyncio.sleep(0.5)  # that step's end has been heard; within the next one only the command can wake the driver
    owner = replicas.owner(run_id)
    through = other if owner is one else one
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{through.url}/runs/{run_id}/commands", json={"kind": "pause"})
    assert answer.status_code == 202
    assert answer.json()["outcome"].startswith("accepted while a window runs: the run holds at the next step boundary")
    async with asyncio.timeout(A_LONG_STEP_S / 2):
        while f"{run_id}:0:0" not in worker.cancelled:
            await asyncio.sleep(0.05)
    await replicas.until(run_id, "paused")
    [(step,)] = replicas.rows("SELECT step FROM runs WHERE run_id = %s", run_id)
    assert 0 < step < 10, "a window has ten steps"
    [(outcome, applied_step)] = replicas.rows("SELECT outcome, applied_step FROM commands WHERE run_id = %s", run_id)
    assert (outcome, applied_step) == (f"holds at step {step}", step)
