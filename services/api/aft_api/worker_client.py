"""The worker's protocol, from the control plane's side; every foreign answer is checked here."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from aft_api.errors import AftError
from aft_contracts import (
    AnalysisResult,
    AnalysisSpec,
    Checkpoints,
    Contract,
    DataPreview,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobRequest,
    JobView,
    LoadedRun,
    PreviewRequest,
    Problem,
    ReportFormat,
    RunLoad,
    RunSpec,
    SampleOrder,
    SamplesReport,
    WindowResult,
    WindowSpec,
    WorkerChanges,
    WorkerInfo,
    digest_of,
)

JobKind = Literal["windows", "analyses", "evaluations", "exports"]
JobSpec = WindowSpec | AnalysisSpec | EvaluationSpec | ExportJob
ModelT = TypeVar("ModelT", bound=BaseModel)

VIEWS: dict[JobKind, type[JobView[Any]]] = {
    "windows": JobView[WindowResult],
    "analyses": JobView[AnalysisResult],
    "evaluations": JobView[EvaluationResult],
    "exports": JobView[ExportResult],
}
ANSWER_S = 30.0
PREVIEW_S = 60.0
"""A preview reads and tokenises rows, perhaps from afar."""
VERIFY_S = 600.0
"""To read and hash every checkpoint of a run."""
SAMPLES_S = 120.0
"""Longest wait for a report of samples, in seconds: the worker reads the run's whole ledger for it."""


@dataclass(frozen=True, kw_only=True)
class SampleQuery:
    """Which samples a report is about, and what it is written as."""

    order: SampleOrder
    domain: str | None
    limit: int
    form: ReportFormat


class WorkerUnreachable(AftError):
    """The worker does not answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class WorkerRefused(AftError):
    """The worker answered with an error."""

    status = HTTPStatus.BAD_GATEWAY

    def __init__(self, reported: Problem) -> None:
        self.reported = reported
        super().__init__(reported.detail, code=reported.code, status=reported.status)


class WorkerAnswerInvalid(AftError):
    """The worker's answer is not what the protocol says."""

    status = HTTPStatus.BAD_GATEWAY


class WorkerClient:
    """One worker, at one base URL."""

    def __init__(self, http: httpx.AsyncClient, base_url: str) -> None:
        self._http, self.base_url = http, base_url.rstrip("/")

    async def info(self) -> WorkerInfo:
        """Who it is and what it holds."""
        return await self._call("GET", "/v1/worker", WorkerInfo, answer_s=5.0)

    async def check(self, spec: RunSpec) -> None:
        """Have it look at a spec's model and data without loading them."""
        await self._send("POST", "/v1/checks", body=spec, answer_s=ANSWER_S)

    async def preview(self, request: PreviewRequest) -> DataPreview:
        """Have it show some rows as the model will see them."""
        return await self._call("POST", "/v1/previews", DataPreview, body=request, answer_s=PREVIEW_S)

    async def load(self, load: RunLoad, fence_token: int) -> LoadedRun:
        """Ask it to hold a run; asking again is harmless."""
        request = JobRequest[RunLoad](spec=load, spec_hash=digest_of(load), fence_token=fence_token)
        return await self._call("PUT", f"/v1/runs/{load.run_id}", LoadedRun, body=request)

    async def loaded(self, run_id: str, *, wait_s: float = 0.0) -> LoadedRun:
        """The run as the worker holds it, after waiting for a change at most `wait_s`."""
        return await self._call("GET", f"/v1/runs/{run_id}", LoadedRun, params={"wait_s": wait_s}, answer_s=wait_s)

    async def release(self, run_id: str, fence_token: int) -> None:
        """Let it forget the run; a worker that does not hold it agrees."""
        await self._send("DELETE", f"/v1/runs/{run_id}", params={"fence_token": fence_token}, answer_s=ANSWER_S)

    async def checkpoints(self, run_id: str, *, verify: bool) -> Checkpoints:
        """The run's checkpoints on its disk; with `verify` it reads every file, which takes a while."""
        return await self._call(
            "GET",
            f"/v1/runs/{run_id}/checkpoints",
            Checkpoints,
            params={"verify": verify},
            answer_s=VERIFY_S if verify else ANSWER_S,
        )

    async def put(self, kind: JobKind, job_id: str, spec: JobSpec, fence_token: int) -> JobView[Contract]:
        """Ask for a job; the same id and spec give the same job."""
        request = JobRequest[JobSpec](spec=spec, spec_hash=digest_of(spec), fence_token=fence_token)
        return await self._job("PUT", kind, job_id, body=request)

    async def changes(self, stream: str, after: int, *, wait_s: float) -> WorkerChanges:
        """Every job that has changed behind a place in the worker's stream, after waiting for one at most `wait_s`."""
        params: dict[str, str | float] = {"stream": stream, "after": after, "wait_s": wait_s}
        return await self._call("GET", "/v1/events", WorkerChanges, params=params, answer_s=wait_s)

    async def get(self, kind: JobKind, job_id: str, *, wait_s: float = 0.0, after_step: int = -1) -> JobView[Contract]:
        """The job, after waiting at most `wait_s` for its end or for a step behind `after_step`."""
        params = {"wait_s": wait_s, "after_step": after_step}
        return await self._job("GET", kind, job_id, params=params, answer_s=wait_s)

    async def cancel(self, window_id: str, fence_token: int) -> None:
        """Ask it to stop after the current step."""
        await self._send(
            "POST", f"/v1/windows/{window_id}/cancel", params={"fence_token": fence_token}, answer_s=ANSWER_S
        )

    async def samples(self, run_id: str, query: SampleQuery) -> bytes:
        """What the run's ledger says of its samples, in the form asked for."""
        params: dict[str, str | float] = {"order": query.order, "limit": query.limit, "format": query.form}
        if query.domain is not None:
            params["domain"] = query.domain
        path = f"/v1/runs/{run_id}/samples"
        response = await self._send("GET", path, params=params, answer_s=SAMPLES_S)
        given = response.headers.get("content-type", "")
        if given != query.form.media_type:
            raise WorkerAnswerInvalid(f"{self.base_url} was asked for {query.form.media_type} and sent {given!r}.")
        if query.form is ReportFormat.JSON:
            # A thread, because a report of all samples of a large run takes a while to check.
            await asyncio.to_thread(self._checked, SamplesReport, f"GET {path}", response)
        return response.content

    async def _job(
        self,
        method: str,
        kind: JobKind,
        job_id: str,
        *,
        body: BaseModel | None = None,
        params: dict[str, float] | None = None,
        answer_s: float = ANSWER_S,
    ) -> JobView[Contract]:
        view = await self._call(
            method, f"/v1/{kind}/{job_id}", VIEWS[kind], body=body, params=params, answer_s=answer_s
        )
        if view.job_id != job_id:
            raise WorkerAnswerInvalid(f"{self.base_url} was asked for {job_id} and answered about {view.job_id}.")
        return view

    async def _call(
        self,
        method: str,
        path: str,
        shape: type[ModelT],
        *,
        body: BaseModel | None = None,
        params: Mapping[str, str | float] | None = None,
        answer_s: float = ANSWER_S,
    ) -> ModelT:
        response = await self._send(method, path, body=body, params=params, answer_s=answer_s)
        return self._checked(shape, f"{method} {path}", response)

    def _checked(self, shape: type[ModelT], asked: str, response: httpx.Response) -> ModelT:
        try:
            return shape.model_validate_json(response.content)
        except ValidationError as error:
            raise WorkerAnswerInvalid(
                f"{asked} at {self.base_url} answered {response.status_code} with something that is not a "
                f"{shape.__name__}: {error.errors()[0]['msg']}. Check that the worker's version fits this API's."
            ) from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        params: Mapping[str, str | float] | None = None,
        answer_s: float,
    ) -> httpx.Response:
        try:
            response = await self._http.request(
                method,
                self.base_url + path,
                content=None if body is None else body.model_dump_json(),
                headers={"content-type": "application/json"},
                params=params,
                timeout=httpx.Timeout(answer_s + 10.0, connect=5.0),
            )
        except httpx.HTTPError as error:
            raise WorkerUnreachable(
                f"The worker at {self.base_url} does not answer ({type(error).__name__}). "
                "Start it with `aft worker`, or correct AFT_WORKER_URLS.",
                url=self.base_url,
            ) from error
        if response.is_success:
            return response
        raise WorkerRefused(self._reported(response))

    def _reported(self, response: httpx.Response) -> Problem:
        try:
            return Problem.model_validate_json(response.content)
        except ValidationError as error:
            raise WorkerAnswerInvalid(
                f"{self.base_url} answered {response.status_code} without a problem document."
            ) from error
