"""The wall clock names moments for people and decides nothing: leases go by the database's, waits by the loop's."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from aft_api.app import create_app
from tests.api.conftest import Api, serving, settings_for
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE_S = 6.0
"""Long enough for its renewals on a busy machine; a run of sixty steps outlasts it."""
LATE_POISON = ("s121", "s157", "s201")
"""Drawn at steps 30, 39 and 50, when the guard is armed."""
TWO_DOMAINS = {
    "domains": {"chat": {"path": "/data/chat.jsonl"}, "code": {"path": "/data/code.jsonl"}},
    "evaluation": {"chat": "/data/held_out.jsonl"},
}


class SetBack:
    """A clock that somebody sets back by a day whenever it is looked at."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> datetime:
        self._looks += 1
        return NOON - timedelta(days=self._looks)


class Leaping:
    """A clock that is wrong by a year in one direction or the other."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> datetime:
        self._looks += 1
        return NOON + timedelta(days=365 * (-1) ** self._looks, seconds=self._looks)


@asynccontextmanager
async def api_at(
    folder: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, clock: Callable[[], datetime]
) -> AsyncIterator[Api]:
    """The API with a clock of its own and a lease that ends while the run is driven."""
    settings = settings_for(folder, database_url, worker_url).model_copy(update={"lease_s": LEASE_S})
    app = create_app(settings, clock=clock)
    async with serving(app, lifespan="on") as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield Api(app=app, worker=worker, client=client)


@pytest.mark.parametrize("clock", [SetBack, Leaping])
async def test_a_wrong_clock_costs_no_lease_and_no_window(
    tmp_path: Path,
    database_url: str | None,
    worker: SimulatedWorker,
    worker_url: str,
    clock: Callable[[], Callable[[], datetime]],
) -> None:
    worker.step_s = 1.5 * LEASE_S / 60
    async with api_at(tmp_path, database_url, worker, worker_url, clock()) as api:
        run_id = await api.start()
        run = await api.until(run_id, "succeeded")
        assert worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
        assert [score["step"] for score in run["evaluations"]] == [0, 40, 60]
        token = max(worker.fences.values())
        assert token == 1, "the lease was claimed once and kept for longer than it lasts"


@pytest.mark.parametrize("clock", [SetBack, Leaping])
async def test_a_wrong_clock_decides_no_mix_and_no_repair(
    tmp_path: Path, worker: SimulatedWorker, worker_url: str, clock: Callable[[], Callable[[], datetime]]
) -> None:
    worker.held_out_loss = [3.0, 3.4, 3.0]
    worker.poison = set(LATE_POISON)
    async with api_at(tmp_path, None, worker, worker_url, clock()) as api:
        run_id = await api.start(data=TWO_DOMAINS, curriculum={"every_windows": 1})
        run = await api.until(run_id, "succeeded")
        assert run["schedule"]["mix"][0]["weights"]["chat"] > run["schedule"]["mix"][0]["weights"]["code"]
        steps = [score["step"] for score in run["evaluations"]]
        assert steps == sorted(steps), "the last score is the newest one, whatever the clock said"
        reports = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
        named = [report["culprits"] for report in reports]
        assert named == [["s121", "s157"], ["s201"]]
