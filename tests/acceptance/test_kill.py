"""kill -9 of worker and API in the middle of a window: the run finishes by itself, to the same bits."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import Deployment, deployment


def adapter_bytes(run: dict[str, Any]) -> bytes:
    """The adapter that the run left behind."""
    return (Path(run["export"]["adapter_path"]) / "adapter_model.safetensors").read_bytes()


def wait_mid_window(aft: Deployment, run_id: str, *, from_index: int) -> None:
    """Wait until a window from this index on has finished a step and not its last."""
    while True:
        windows = aft.windows(run_id)
        steps = aft.get(f"/runs/{run_id}")["step"]
        if windows and windows[-1]["index"] >= from_index and windows[-1]["result"] is None:
            done = steps - windows[-1]["start_step"]
            if 0 < done < windows[-1]["num_steps"]:
                return
        time.sleep(0.005)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, compiled: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """The same run with nothing going wrong."""
    with deployment(tmp_path_factory.mktemp("undisturbed"), compiled) as aft:
        aft.start()
        return aft.until(aft.submit(spec), "succeeded")


@pytest.mark.slow
def test_killed_run_ends_bit_identical_to_an_undisturbed_one(
    tmp_path: Path, compiled: Path, spec: dict[str, Any], database_url: str | None, undisturbed: dict[str, Any]
) -> None:
    with deployment(tmp_path, compiled, database_url) as aft:
        aft.start()
        run_id = aft.submit(spec)
        wait_mid_window(aft, run_id, from_index=1)
        aft.worker.kill()
        aft.worker.start()
        aft.worker.wait_well()
        wait_mid_window(aft, run_id, from_index=2)
        aft.api.kill()
        aft.worker.kill()
        aft.api.start()
        aft.worker.start()
        killed = aft.until(run_id, "succeeded")
        windows = aft.windows(run_id)

    assert [(window["generation"], window["start_step"], window["status"]) for window in windows] == [
        (0, start, "committed") for start in (0, 10, 20, 30)
    ]
    assert adapter_bytes(killed) == adapter_bytes(undisturbed)
    assert killed["evaluations"] == undisturbed["evaluations"]
