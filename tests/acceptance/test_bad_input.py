"""Bad input meets both real processes: a clear problem at the door, and nothing is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import rows
from tests.acceptance.processes import Deployment, deployment


@pytest.fixture(scope="module")
def aft(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Any:
    """Both processes, for all cases."""
    with deployment(tmp_path_factory.mktemp("aft"), compiled) as both:
        both.start()
        yield both


def model_of_family(folder: Path, tiny_model: Path, family: str) -> str:
    """The tiny model, claiming to be of another family."""
    copy = folder / family
    copy.mkdir()
    for file in tiny_model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": family}))
    return str(copy)


def with_data(spec: dict[str, Any], path: Path, *lines: str) -> dict[str, Any]:
    """The spec on a file of these lines."""
    path.write_text("".join(line + "\n" for line in lines))
    return {**spec, "data": {**spec["data"], "domains": {"plain": {"path": str(path)}}}}


def test_spec_that_cannot_be_trained_is_refused_with_its_reason(
    aft: Deployment, tmp_path: Path, tiny_model: Path, spec: dict[str, Any]
) -> None:
    good = [json.dumps(row) for row in rows(8)]
    mamba = {**spec, "model": {**spec["model"], "path": model_of_family(tmp_path, tiny_model, "mamba")}}
    nowhere = {**spec, "model": {**spec["model"], "path": str(tmp_path / "nowhere")}}
    cases = {
        "unknown family": (mamba, "mamba"),
        "missing model": (nowhere, str(tmp_path / "nowhere")),
        "missing file": ({**spec, "data": {"domains": {"plain": {"path": "/no/such.jsonl"}}}}, "/no/such.jsonl"),
        "not json": (with_data(spec, tmp_path / "a.jsonl", *good, "{broken"), "a.jsonl, line 9"),
        "no text": (with_data(spec, tmp_path / "b.jsonl", good[0], '{"id": "x", "label": 1}'), "b.jsonl, line 2"),
    }
    problems = {name: aft.client.post("/runs", json=spec) for name, (spec, _) in cases.items()}
    assert {name: problem.status_code for name, problem in problems.items()} == dict.fromkeys(cases, 422)
    assert {name: problem.json()["code"] for name, problem in problems.items()} == {
        "unknown family": "unknown_model_family",
        "missing model": "model_file_missing",
        "missing file": "data_file_missing",
        "not json": "bad_row",
        "no text": "bad_row",
    }
    details = {name: problem.json()["detail"] for name, problem in problems.items()}
    assert {name: detail for name, detail in details.items() if cases[name][1] not in detail} == {}
    assert aft.get("/runs")["runs"] == []
