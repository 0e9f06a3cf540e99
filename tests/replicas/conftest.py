"""Replicas of the API as processes of their own, on one Postgres, before a simulated worker."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.api.conftest import serving
from tests.replicas.replicas import Replicas
from tests.simulated_worker import SimulatedWorker, simulated_app


@pytest.fixture
def worker() -> SimulatedWorker:
    """A worker that trains nothing."""
    return SimulatedWorker()


@pytest.fixture
async def worker_url(worker: SimulatedWorker) -> AsyncIterator[str]:
    """Where it listens."""
    async with serving(simulated_app(worker)) as url:
        yield url


@pytest.fixture
def replicas(tmp_path: Path, postgres_url: str, worker_url: str) -> Iterator[Replicas]:
    """Replicas that are stopped at the end, frozen or not."""
    started = Replicas(folder=tmp_path, database_url=postgres_url, worker_url=worker_url)
    yield started
    started.end()
