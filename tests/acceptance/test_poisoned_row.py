"""Both real processes: one poisoned row is found, proven, blacklisted and never drawn again."""

from pathlib import Path
from typing import Any

from tests.acceptance.conftest import rows, write_rows
from tests.acceptance.processes import deployment

POISONED = "row-041"
OVERFLOWS = 3e38
"""A finite number in JSON; times a loss it is infinite in float32."""


def drawn(windows: list[dict[str, Any]]) -> list[str]:
    """Ids of all samples of these windows."""
    return [
        sample["sample_id"]
        for window in windows
        for step in window["result"]["metrics"]["steps"]
        for sample in step["samples"]
    ]


def with_text_of(rows: list[dict[str, Any]], *places: Path) -> list[str]:
    """Files in these places that hold the text of a row: the API's store, its messages in it, artifacts, logs."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    assert len(files) > 5
    return [str(file) for file in files if any(row["text"].encode() in file.read_bytes() for row in rows)]


def test_poisoned_row_is_blacklisted_and_never_drawn_again(
    tmp_path: Path, compiled: Path, spec: dict[str, Any]
) -> None:
    poisoned = [{**row, "weight": OVERFLOWS} if row["id"] == POISONED else row for row in rows(96)]
    path = write_rows(tmp_path / "train.jsonl", poisoned)
    data = {**spec["data"], "domains": {"plain": {"path": str(path)}}}
    with deployment(tmp_path / "aft", compiled) as aft:
        aft.start()
        run_id = aft.submit(
            {
                **spec, "data": data, "optim": {**spec["optim"], "steps": 56}, "window": {"steps": 6},
                "notify": {"slack_webhook": "nobody"},
            }
        )  # fmt: skip
        run = aft.until(run_id, "succeeded")
        windows = aft.windows(run_id)
        messages = aft.get("/notifications")["notifications"]
        [report] = aft.get(f"/runs/{run_id}/diagnoses")["diagnoses"]

    assert [message["kind"] for message in messages] == ["run_succeeded"]
    [entry] = run["schedule"]["blacklist"]
    assert entry["sample_id"] == POISONED
    assert (report["verdict"], report["culprits"]) == ("data", [POISONED])
    bad = [step for w in windows for step in w["result"]["metrics"]["steps"] if not step["applied"]]
    assert [step["withheld"] for step in bad] == ["non_finite"]
    found_in = next(window["index"] for window in windows if POISONED in drawn([window]))
    assert POISONED not in drawn(windows[found_in + 1 :])
    assert len(drawn(windows[found_in + 1 :])) > 96, "a whole epoch more was drawn without it"
    assert run["evaluations"][-1]["scores"]["plain"]["loss"] < run["evaluations"][0]["scores"]["plain"]["loss"]
    assert (Path(run["export"]["adapter_path"]) / "adapter_model.safetensors").is_file()
    assert with_text_of(poisoned, tmp_path / "aft/api", tmp_path / "aft/api.log", tmp_path / "aft/worker.log") == []
