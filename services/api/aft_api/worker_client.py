"""The worker's protocol, from the control plane's side; every foreign answer is checked here."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, TypeVar

import aiohttp
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import from_json

from aft_api.answers import JobSpec
from aft_api.errors import AftError
from aft_contracts import (
    PROTOCOL,
    AnalysisResult,
    Checkpoints,
    Contract,
    DataPreview,
    EvaluationResult,
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
    WorkerChanges,
    WorkerInfo,
    digest_of,
)

JobKind = Literal["windows", "analyses", "evaluations", "exports"]
ModelT = TypeVar("ModelT", bound=BaseModel)

VIEWS: dict[JobKind, type[JobView[Any]]] = {
    "windows": JobView[WindowResult],
    "analyses": JobView[AnalysisResult],
    "evaluations": JobView[EvaluationResult],
    "exports": JobView[ExportResult],
}
ANSWER_S = 30.0
AT_ONCE_S = 0.0
"""For what a worker only has to look up; every answer is given some seconds more than this."""
PREVIEW_S = 60.0
"""A preview reads and tokenises rows, perhaps from afar."""
VERIFY_S = 600.0
"""To read and hash every checkpoint of a run."""
SAMPLES_S = 120.0
"""Longest wait for a report of samples, in seconds: the worker reads the run's whole ledger for it."""
CONNECT_S = 5.0
"""Longest that it may take a worker to accept a connection."""
KEPT_S = 4.0
"""How long a connection is kept without a request: less than the five seconds after which a worker ends it."""
GRACE_S = 10.0
"""How much longer than a worker was asked to take an answer may, from the first byte sent to the last one read."""
LONGEST_ANSWER_BYTES = 64 * 2**20
"""More than any answer needs: a window of 10,000 steps of 32 rows is some 50 MB."""
LONGEST_REPORT_BYTES = 4 * 2**30
"""A report of samples has a line for each row of the data."""
JSON_TYPE = "application/json"


@dataclass(frozen=True, kw_only=True)
class SampleQuery:
    """Which samples a report is about, and what it is written as."""

    order: SampleOrder
    domain: str | None
    limit: int
    form: ReportFormat


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What came back, whole."""

    status: int
    media_type: str
    content: bytes


class WorkerFailure(AftError):
    """The worker did not do what it was asked."""


class WorkerUnreachable(WorkerFailure):
    """The worker does not answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class WorkerRefused(WorkerFailure):
    """The worker answered with an error."""

    status = HTTPStatus.BAD_GATEWAY

    def __init__(self, reported: Problem) -> None:
        self.reported = reported
        super().__init__(reported.detail, code=reported.code, status=reported.status)


class WorkerAnswerInvalid(WorkerFailure):
    """The worker's answer is not what the protocol says."""

    status = HTTPStatus.BAD_GATEWAY


def worker_session(token: SecretStr | None) -> aiohttp.ClientSession:
    """Connections for workers alone, who know the API by `token`; to be made where the loop runs, and closed there."""
    known_by = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S),
        headers={"Accept-Encoding": "identity", **known_by},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a few bytes could become gigabytes
        trust_env=False,  # never through a proxy: it would see the token, and knows no worker on this host
    )


class WorkerClient:
    """One worker, at one base URL."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base_url: str,
        *,
        grace_s: float = GRACE_S,
        longest_answer_bytes: int = LONGEST_ANSWER_BYTES,
    ) -> None:
        self._http, self.base_url = http, base_url.rstrip("/")
        self._grace_s, self._longest_answer_bytes = grace_s, longest_answer_bytes

    async def info(self) -> WorkerInfo:
        """Who it is and what it holds; a worker of another protocol is none of ours, whatever else it says."""
        info = await self._call("GET", "/v1/worker", WorkerInfo, answer_s=5.0)
        if info.protocol != PROTOCOL:
            raise WorkerAnswerInvalid(
                f"The worker at {self.base_url} speaks protocol {info.protocol!r}, this API {PROTOCOL!r}. "
                "Run both from the same version of aft."
            )
        return info

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

    async def loaded(self, run_id: str) -> LoadedRun:
        """The run as the worker holds it now."""
        return await self._call("GET", f"/v1/runs/{run_id}", LoadedRun, answer_s=AT_ONCE_S)

    async def release(self, run_id: str, fence_token: int) -> None:
        """Let it forget the run; a worker that does not hold it agrees."""
        await self._send("DELETE", f"/v1/runs/{run_id}", params={"fence_token": fence_token}, answer_s=ANSWER_S)

    async def checkpoints(self, run_id: str, *, verify: bool) -> Checkpoints:
        """The run's checkpoints on its disk; with `verify` it reads every file, which takes a while."""
        return await self._call(
            "GET",
            f"/v1/runs/{run_id}/checkpoints",
            Checkpoints,
            params={"verify": str(verify).lower()},
            answer_s=VERIFY_S if verify else ANSWER_S,
        )

    async def put(
        self, kind: JobKind, job_id: str, spec: JobSpec, fence_token: int, *, settles: bool = False
    ) -> JobView[Contract]:
        """Ask for a job; the same id and spec give the same job.

        `settles` acknowledges the results of all earlier jobs of the run, which the worker then forgets.
        """
        request = JobRequest[JobSpec](spec=spec, spec_hash=digest_of(spec), fence_token=fence_token, settles=settles)
        return await self._job("PUT", kind, job_id, body=request)

    async def changes(self, stream: str, after: int, *, wait_s: float) -> WorkerChanges:
        """Every job that has changed behind a place in the worker's stream, after waiting for one at most `wait_s`."""
        params: dict[str, str | float] = {"stream": stream, "after": after, "wait_s": wait_s}
        return await self._call("GET", "/v1/events", WorkerChanges, params=params, answer_s=wait_s)

    async def get(self, kind: JobKind, job_id: str) -> JobView[Contract]:
        """The job as it stands now."""
        return await self._job("GET", kind, job_id, answer_s=AT_ONCE_S)

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
        answer = await self._send("GET", path, params=params, answer_s=SAMPLES_S, most_bytes=LONGEST_REPORT_BYTES)
        if answer.media_type != query.form.media_type:
            raise WorkerAnswerInvalid(
                f"{self.base_url} was asked for {query.form.media_type} and sent {answer.media_type!r}."
            )
        if query.form is ReportFormat.JSON:
            # A thread, because a report of all samples of a large run takes a while to check.
            await asyncio.to_thread(self._checked, SamplesReport, f"GET {path}", answer)
        return answer.content

    async def _job(
        self,
        method: str,
        kind: JobKind,
        job_id: str,
        *,
        body: BaseModel | None = None,
        answer_s: float = ANSWER_S,
    ) -> JobView[Contract]:
        view = await self._call(method, f"/v1/{kind}/{job_id}", VIEWS[kind], body=body, answer_s=answer_s)
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
        answer = await self._send(method, path, body=body, params=params, answer_s=answer_s)
        return self._checked(shape, f"{method} {path}", answer)

    def _checked(self, shape: type[ModelT], asked: str, answer: _Answer) -> ModelT:
        said = f"{asked} at {self.base_url} answered {answer.status}"
        if not answer.media_type.startswith(JSON_TYPE):
            raise WorkerAnswerInvalid(f"{said} with {answer.media_type or 'no content type'!r}, not {JSON_TYPE}.")
        try:
            checked = shape.model_validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the document"
            raise WorkerAnswerInvalid(
                f"{said} with something that is not a {shape.__name__}: {place}: {first['msg']}. "
                "Check that the worker's version fits this API's."
            ) from error
        self._refuse_nul(said, answer.content)
        return checked

    def _refuse_nul(self, said: str, content: bytes) -> None:
        """Postgres keeps no text with a NUL: past this point the run's driver would stumble over it for ever."""
        if b"\\u0000" in content and _holds_nul(from_json(content)):
            raise WorkerAnswerInvalid(f"{said} with text that holds the character NUL.")

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        params: Mapping[str, str | float] | None = None,
        answer_s: float,
        most_bytes: int | None = None,
    ) -> _Answer:
        limit_s = answer_s + self._grace_s
        content = None if body is None else body.model_dump_json()
        try:
            async with self._http.request(
                method,
                self.base_url + path,
                data=content,
                headers={"Content-Type": JSON_TYPE},
                params=params,
                allow_redirects=False,
                # The whole of it: a byte now and then would be waited for without end.
                timeout=aiohttp.ClientTimeout(total=limit_s, sock_connect=CONNECT_S),
            ) as response:
                answer = await self._whole(response, most_bytes or self._longest_answer_bytes)
        except (OSError, ValueError, aiohttp.ClientError) as error:
            raise WorkerUnreachable(
                f"The worker at {self.base_url} does not answer ({_cause(error)}). "
                "Start it with `aft worker`, or correct AFT_WORKER_URLS.",
                url=self.base_url,
            ) from error
        if HTTPStatus(200) <= answer.status < HTTPStatus(300):
            return answer
        raise WorkerRefused(self._reported(answer))

    async def _whole(self, response: aiohttp.ClientResponse, most_bytes: int) -> _Answer:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > most_bytes:
                raise WorkerAnswerInvalid(
                    f"{response.method} {response.url.path} at {self.base_url} answered with more than "
                    f"{most_bytes} bytes; the rest was not read."
                )
        media_type = response.headers.get("Content-Type", "")
        return _Answer(status=response.status, media_type=media_type, content=bytes(content))

    def _reported(self, answer: _Answer) -> Problem:
        try:
            reported = Problem.model_validate_json(answer.content)
        except ValidationError as error:
            raise WorkerAnswerInvalid(
                f"{self.base_url} answered {answer.status} without a problem document."
            ) from error
        self._refuse_nul(f"{self.base_url} answered {answer.status}", answer.content)
        return reported


def _cause(error: Exception) -> str:
    name = type(error).__name__
    # Nobody was asked: aiohttp takes no such address, or the codec of host names does not, and that says why.
    return f"{name}: {error}" if isinstance(error, ValueError) else name


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\x00" in value
