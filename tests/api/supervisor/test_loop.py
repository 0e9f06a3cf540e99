"""The whole loop, from POST /runs to the end, on both stores, against a simulated worker."""

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio


async def test_healthy_run_trains_every_window_once_and_succeeds(api: Api) -> None:
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    assert run["step"] == 60
    assert api.worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
    assert [score["step"] for score in run["evaluations"]] == [0, 40, 60]
    assert run["export"]["adapter_path"] == "/adapters/x"
    assert api.worker.runs == {}
