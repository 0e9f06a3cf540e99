"""GET /runs/{id}/samples: passed on from the worker that has the ledger, with words for every way it can fail."""

from pathlib import Path

import pytest

from aft_contracts import Problem, ReportFormat, SamplesReport
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio

REPORT = SamplesReport(
    run_id="r", generation=0, step=4, steps_recorded=4, presentations=16, seen=9, rows=40, matching=9, samples=()
)


def stored(worker: SimulatedWorker) -> None:
    """The worker has a report in every form."""
    worker.reports = {
        ReportFormat.JSON: REPORT.model_dump_json().encode(),
        ReportFormat.CSV: b"sample_id\nt1\n",
        ReportFormat.PARQUET: b"PAR1",
        ReportFormat.PNG: b"\x89PNG",
    }


async def test_each_form_is_passed_on_as_the_worker_wrote_it(local_api: Api) -> None:
    stored(local_api.worker)
    run_id = await local_api.start()
    for form, content in local_api.worker.reports.items():
        answer = await local_api.client.get(f"/runs/{run_id}/samples", params={"format": form})
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == form.media_type


async def test_the_question_reaches_the_worker(local_api: Api) -> None:
    stored(local_api.worker)
    run_id = await local_api.start()
    query = {"order": "forgetting", "domain": "chat", "limit": "7", "format": "csv"}
    await local_api.client.get(f"/runs/{run_id}/samples", params=query)
    await local_api.client.get(f"/runs/{run_id}/samples")
    assert local_api.worker.sample_queries == [query, {"order": "suspicion", "limit": "50", "format": "json"}]


async def test_an_unknown_run_and_a_senseless_query_are_refused_here(local_api: Api) -> None:
    unknown = await local_api.client.get("/runs/none/samples")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "run_not_found")
    run_id = await local_api.start()
    senseless = await local_api.client.get(f"/runs/{run_id}/samples", params={"order": "beauty"})
    assert (senseless.status_code, senseless.json()["code"]) == (422, "validation_failed")
    assert local_api.worker.sample_queries == []


async def test_a_worker_without_files_of_the_run_is_named_as_such(local_api: Api) -> None:
    run_id = await local_api.start()
    answer = await local_api.client.get(f"/runs/{run_id}/samples")
    assert (answer.status_code, answer.json()["code"]) == (404, "ledger_not_found")
    assert "nothing of it has been trained yet" in answer.json()["detail"]


async def test_the_workers_own_refusal_is_passed_on(local_api: Api) -> None:
    nothing = Problem(title="There is nothing to report on.", status=409, code="nothing_trained_yet", detail="Later.")
    local_api.worker.reports = nothing
    run_id = await local_api.start()
    answer = await local_api.client.get(f"/runs/{run_id}/samples")
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
        409,
        "nothing_trained_yet",
        "Later.",
    )


@pytest.mark.parametrize("content", [b"{}", b"not JSON"])
async def test_an_answer_that_is_no_report_is_not_passed_on(local_api: Api, content: bytes) -> None:
    local_api.worker.reports = {ReportFormat.JSON: content}
    run_id = await local_api.start()
    answer = await local_api.client.get(f"/runs/{run_id}/samples")
    assert (answer.status_code, answer.json()["code"]) == (502, "worker_answer_invalid")


async def test_no_worker_reachable_is_a_503(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    async with serving(simulated_app(worker)) as url:
        pass  # the port is free again, and nobody listens
    async with running_api(settings_for(tmp_path, None, url), worker) as api:
        run_id = await api.start()
        answer = await api.client.get(f"/runs/{run_id}/samples")
    assert (answer.status_code, answer.json()["code"]) == (503, "samples_unreachable")
    assert url in answer.json()["detail"]


async def test_another_worker_is_asked_where_the_first_has_no_files(tmp_path: Path) -> None:
    empty, full = SimulatedWorker("empty"), SimulatedWorker("full")
    stored(full)
    async with serving(simulated_app(empty)) as one, serving(simulated_app(full)) as other:
        settings = settings_for(tmp_path, None, one).model_copy(update={"worker_urls": (one, other)})
        async with running_api(settings, empty) as api:
            run_id = await api.start()
            answer = await api.client.get(f"/runs/{run_id}/samples")
    assert SamplesReport.model_validate_json(answer.content) == REPORT
