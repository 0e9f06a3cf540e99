"""The app: who may open the embedded store."""

from pathlib import Path

import pytest

from aft_api.app import DataDirTaken, create_app
from tests.api.conftest import running_api, settings_for
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio


async def test_the_embedded_store_serves_one_process_and_the_next_once_that_has_ended(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, None, "http://127.0.0.1:9")
    first, second = create_app(settings), create_app(settings)
    async with first.router.lifespan_context(first):
        with pytest.raises(DataDirTaken, match=f"Another aft API uses {tmp_path}"):
            async with second.router.lifespan_context(second):
                raise AssertionError("two processes would each believe that they drive every run")
    async with second.router.lifespan_context(second):
        assert second.state.store.is_sqlite


async def test_workers_are_not_asked_through_a_proxy(
    tmp_path: Path, worker: SimulatedWorker, worker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with running_api(settings_for(tmp_path, None, worker_url), worker) as api:
        await api.until(await api.start(), "succeeded")
    assert len(worker.windows) == 6
