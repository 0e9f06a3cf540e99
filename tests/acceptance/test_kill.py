"""Processes that die or freeze in the middle of a window: the run finishes by itself, to the same bits."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import Deployment, deployment, second_worker

WINDOW_STEPS = 10


def adapter_bytes(run: dict[str, Any]) -> bytes:
    """The adapter that the run left behind."""
    return (Path(run["export"]["adapter_path"]) / "adapter_model.safetensors").read_bytes()


def wait_mid_window(aft: Deployment, run_id: str, *, from_index: int) -> None:
    """Wait until a window from this index on has finished a step and not its last."""
    index = from_index
    while True:
        steps = aft.steps_once_begun(f"{run_id}:0:{index}")
        if 0 < steps < WINDOW_STEPS:
            return
        assert steps < WINDOW_STEPS or index < 3, "every window was over before it was seen: the machine is too busy"
        index += steps == WINDOW_STEPS


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


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_workers_run_ends_bit_identical_on_another(
    tmp_path: Path, compiled: Path, spec: dict[str, Any], how: signal.Signals, undisturbed: dict[str, Any]
) -> None:
    with deployment(tmp_path, compiled, registers=True) as aft, second_worker(aft, tmp_path) as other:
        other.start()
        aft.start()
        aft.until_worker("second", lambda view: view["state"] == "active")
        aft.until_worker("acceptance", lambda view: view["state"] == "active")
        aft.client.post("/workers/second/drain").raise_for_status()
        run_id = aft.submit(spec)
        wait_mid_window(aft, run_id, from_index=1)
        aft.client.post("/workers/second/resume").raise_for_status()
        assert aft.worker.process is not None
        aft.worker.process.send_signal(how)
        moved = aft.until(run_id, "running", "succeeded", until=lambda run: run["worker_id"] == "second")
        assert moved["worker_id"] == "second"
        if how is signal.SIGSTOP:
            aft.worker.process.send_signal(signal.SIGCONT)
        finished = aft.until(run_id, "succeeded")
        if how is signal.SIGSTOP:  # it comes back with a stale copy, and lets go of it
            aft.until_worker("acceptance", lambda view: view["state"] == "active" and not view["info"]["run_ids"])
        windows = aft.windows(run_id)
        assert [event["details"]["worker_id"] for event in aft.events(run_id, "worker_lost")] == ["acceptance"]

    assert [(window["start_step"], window["status"]) for window in windows] == [
        (start, "committed") for start in (0, 10, 20, 30)
    ]
    assert adapter_bytes(finished) == adapter_bytes(undisturbed)
    assert finished["evaluations"] == undisturbed["evaluations"]
