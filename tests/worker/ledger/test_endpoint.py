"""The samples of a run over the worker's protocol."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aft_contracts import ReportFormat, RunSpec, SamplesReport
from tests.worker.test_server import ended, load, put, refusal, serving, window

MakeSpec = Callable[..., RunSpec]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def worker(root: Path) -> Iterator[httpx.Client]:
    with serving(root) as client:
        yield client


def test_a_run_is_reported_in_every_form_whether_it_is_held_or_not(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec())
    assert refusal(worker.get("/runs/r/samples")) == (409, "nothing_trained_yet")
    put(worker, window(steps=4))
    ended(worker, "/windows/r:0:0")
    held = worker.get("/runs/r/samples", params={"limit": 5})
    report = SamplesReport.model_validate_json(held.raise_for_status().content)
    assert (report.step, report.presentations, len(report.samples)) == (4, 16, 5)
    worker.delete("/runs/r", params={"fence_token": 1})
    answers = {form: worker.get("/runs/r/samples", params={"format": form, "limit": 5}) for form in ReportFormat}
    assert {form: answer.headers["content-type"] for form, answer in answers.items()} == {
        form: form.media_type for form in ReportFormat
    }
    assert answers[ReportFormat.JSON].content == held.content
    assert answers[ReportFormat.CSV].text.count("\n") == 6
    assert pq.read_table(pa.BufferReader(answers[ReportFormat.PARQUET].content)).num_rows == 5
    assert answers[ReportFormat.PNG].content.startswith(b"\x89PNG")
    assert refusal(worker.get("/runs/r/samples", params={"domain": "nowhere"})) == (422, "unknown_domain")


@pytest.mark.parametrize("query", [{"limit": 0}, {"order": "beauty"}, {"format": "pdf"}])
def test_a_query_that_makes_no_sense_is_refused(worker: httpx.Client, query: dict[str, str]) -> None:
    assert refusal(worker.get("/runs/r/samples", params=query)) == (422, "invalid_request")


def test_a_run_without_files_is_unknown(worker: httpx.Client) -> None:
    assert refusal(worker.get("/runs/never/samples")) == (404, "run_unknown")
    assert refusal(worker.get("/runs/%2E%2E/samples")) == (422, "invalid_id")
