"""POST /data/preview: a worker answers, or the caller learns why not."""

from pathlib import Path

import httpx
import pytest

from aft_contracts import DataPreview, Problem, SourcePreview
from tests.api.conftest import Api, running_api, settings_for, spec_json

pytestmark = pytest.mark.anyio


async def ask(client: httpx.AsyncClient, **asked: object) -> httpx.Response:
    return await client.post("/data/preview", json={"spec": spec_json(), **asked})


async def test_a_worker_is_asked_and_its_answer_is_kept_nowhere(local_api: Api) -> None:
    local_api.worker.preview = DataPreview(
        domains={"chat": SourcePreview(rows=(), rows_read=7, is_whole=True, skipped=0, bad_rows=())}, evaluation={}
    )
    answer = await ask(local_api.client, rows=5)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert DataPreview.model_validate(answer.json()) == local_api.worker.preview
    assert (local_api.worker.preview_asked.rows, local_api.worker.preview_asked.spec.name) == (5, "test")


async def test_a_workers_refusal_is_passed_on(local_api: Api) -> None:
    local_api.worker.load_problem = Problem(title="No", status=422, code="bad_row", detail="a.jsonl, line 3: no.")
    answer = await ask(local_api.client)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_row")
    assert answer.json()["detail"] == "a.jsonl, line 3: no."


async def test_without_a_worker_there_is_nobody_to_read(tmp_path: Path, local_api: Api) -> None:
    settings = settings_for(tmp_path / "other", None, "http://127.0.0.1:9")
    async with running_api(settings, local_api.worker) as lonely:
        answer = await ask(lonely.client)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker_answers")
    assert "aft worker" in answer.json()["detail"]


async def test_a_request_that_is_none_is_refused(local_api: Api) -> None:
    answer = await ask(local_api.client, rows=0)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
