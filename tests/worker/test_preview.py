"""Previews and checks of every format, over the worker's HTTP application."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from fastapi.testclient import TestClient

from aft_contracts import DataPreview, PreviewRequest, RunSpec
from aft_worker.server import create_app
from aft_worker.settings import WorkerSettings

MakeSpec = Callable[..., RunSpec]
CHAT = {"messages": [{"role": "user", "content": "hé?"}, {"role": "assistant", "content": "yes"}], "id": "chat"}
BAD = {"messages": [{"role": "user", "content": "secret"}]}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(WorkerSettings(root=tmp_path / "root", worker_id="w"))
    with TestClient(app, headers={"content-type": "application/json"}) as client:
        yield client


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """The rows in the format that the path's ending names, a folder without ending being a saved data set."""
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text("[" + ",\n".join(map(json.dumps, rows)) + "]")
        case ".csv":
            cells = [[json.dumps(row["messages"]).replace('"', '""'), row.get("id", "")] for row in rows]
            path.write_text("messages,id\n" + "".join(f'"{messages}",{own}\n' for messages, own in cells))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist([{"id": None, **row} for row in rows]), path)
        case "":
            datasets.Dataset.from_list([{"id": None, **row} for row in rows]).save_to_disk(path)
    return str(path)


def shown(worker: TestClient, spec: RunSpec, **asked: Any) -> DataPreview:
    answer = worker.post("/v1/previews", content=PreviewRequest(spec=spec, **asked).model_dump_json())
    assert answer.status_code == 200, answer.text
    return DataPreview.model_validate_json(answer.content)


FORMATS = {"a.jsonl": "line 2", "a.json": "line 2", "a.csv": "line 3", "a.parquet": "row 2", "a": "row 2"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_preview_shows_what_carries_loss_and_what_is_bad(
    worker: TestClient, make_spec: MakeSpec, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / name, [CHAT, BAD, CHAT | {"id": "again"}])
    data = {"domains": {"chat": {"path": path}}, "evaluation": {"held": path}, "max_length": 64}
    with structlog.testing.capture_logs() as logs:
        preview = shown(worker, make_spec(data=data), rows=1)
    source = preview.domains["chat"]
    assert preview.evaluation == {"held": source}
    (row,) = source.rows
    assert "".join(token.text for token in row.tokens) == (
        "<|im_start|>user\nhé?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    )
    assert "".join(token.text for token in row.tokens if token.carries_loss) == "yes<|im_end|>\n"
    assert (row.sample_id, row.loss_tokens, row.weight) == ("chat", 5, 1.0)
    assert (len(row.tokens), row.uncut_tokens, row.is_cut) == (28, 28, False)
    assert (source.rows_read, source.is_whole, source.skipped) == (3, True, 1)
    assert source.bad_rows == (
        f"{path}, {FORMATS[name]}: found no token that carries loss within max_length = 64, "
        "expected an answer or a text that begins before the cut.",
    )
    assert "secret" not in preview.model_dump_json()
    assert "yes" not in str(logs)


def test_a_preview_looks_no_further_than_asked_and_says_what_is_cut(
    worker: TestClient, make_spec: MakeSpec, tmp_path: Path
) -> None:
    path = write(tmp_path / "long.jsonl", [{"text": "x" * 40, "weight": 2.5}] * 9)
    spec = make_spec(data={"domains": {"text": {"path": path}}, "max_length": 16})
    source = shown(worker, spec, rows=2, look_at=5).domains["text"]
    assert (source.rows_read, source.is_whole, len(source.rows)) == (5, False, 2)
    row = source.rows[0]
    assert (len(row.tokens), row.uncut_tokens, row.is_cut, row.loss_tokens, row.weight) == (16, 41, True, 15, 2.5)
    assert shown(worker, spec, look_at=9).domains["text"].is_whole


def test_mapped_columns_hold_for_training_and_held_out_rows(
    worker: TestClient, make_spec: MakeSpec, tmp_path: Path
) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("question,answer,key,text\n1 + 1 =, 2,k,not this\n")
    source = {"path": str(path), "columns": {"prompt": "question", "completion": "answer", "id": "key"}}
    preview = shown(worker, make_spec(data={"domains": {"d": source}, "evaluation": {"d": source}}))
    for where in (preview.domains, preview.evaluation):
        (row,) = where["d"].rows
        assert row.sample_id == "k"
        assert "".join(token.text for token in row.tokens if token.carries_loss) == " 2<|im_end|>"


def test_a_preview_of_what_cannot_be_opened_is_a_problem(
    worker: TestClient, make_spec: MakeSpec, tmp_path: Path
) -> None:
    gone = make_spec(data={"domains": {"d": {"path": str(tmp_path / "gone.csv")}}})
    answer = worker.post("/v1/previews", content=PreviewRequest(spec=gone).model_dump_json())
    assert (answer.status_code, answer.json()["code"]) == (422, "data_file_missing")


@pytest.mark.parametrize("name", FORMATS)
def test_a_check_looks_at_the_first_rows_of_every_format(
    worker: TestClient, make_spec: MakeSpec, tmp_path: Path, name: str
) -> None:
    late = write(tmp_path / name, [*({**CHAT, "id": f"r{n}"} for n in range(50)), BAD])
    early = write(tmp_path / f"early{Path(name).suffix}", [CHAT, BAD])

    def check(path: str) -> Any:
        spec = make_spec(data={"domains": {"d": {"path": path}}, "evaluation": {"d": {"path": path}}, "max_length": 64})
        return worker.post("/v1/checks", content=spec.model_dump_json())

    assert check(late).status_code == 204
    refused = check(early)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_row")
    assert f"{early}, {FORMATS[name]}: found no token" in refused.json()["detail"]
