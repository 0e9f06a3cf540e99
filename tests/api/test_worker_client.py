"""The worker's protocol from the client's side: what is no answer is told apart from what is one, within bounds."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from aft_api.worker_client import (
    WorkerAnswerInvalid,
    WorkerClient,
    WorkerFailure,
    WorkerRefused,
    WorkerUnreachable,
    worker_session,
)
from aft_contracts import JobStatus, Problem, WorkerInfo
from tests.api.conftest import serving
from tests.liar import App, Said, tell
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio
LONGEST_BYTES = 5000
VIEW = '{"job_id": "w", "spec_hash": "h", "status": "running", "progress": [%s]}'
STEP = '{"step": 0, "loss": %s, "grad_norm": 1, "lr": %s, "clip_norm": 1, "tokens": 1, "applied": true, "seconds": 1}'
PROBLEM = Problem(title="t", status=500, code="c", detail="d").model_dump_json()
INFO = WorkerInfo(worker_id="w", platform="cpu", devices=1, versions={}, slots=1)


def said(text: str, *, status: int = 200, **how: Any) -> Said:
    """An answer of these words."""
    return Said(status=status, content=text.encode(), **how)


def saying(answer: Said, *, drip_s: float = 0.0, after_s: float = 0.0) -> App:
    """A worker that answers everything with this, after a while or byte by byte."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(after_s)
        if not drip_s:
            await tell(answer, send)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": []})
        for byte in answer.content:
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(drip_s)
        await send({"type": "http.response.body", "body": b""})

    return app


@asynccontextmanager
async def client_of(app: App) -> AsyncIterator[WorkerClient]:
    """A client with small bounds of a worker."""
    async with serving(app) as url, worker_session(None) as http:  # type: ignore[arg-type]
        yield WorkerClient(http, url, grace_s=0.5, longest_answer_bytes=LONGEST_BYTES)


NO_ANSWERS: dict[str, tuple[Said, type[WorkerFailure], str]] = {
    "not json": (said("<html>"), WorkerAnswerInvalid, "not a JobView"),
    "cut off json": (said(VIEW % ""[:-1] + "\x00"), WorkerAnswerInvalid, "not a JobView"),
    "cut off by the connection": (said(VIEW % "", cut_after=10), WorkerUnreachable, "does not answer"),
    "another content type": (said(VIEW % "", media_type="text/html"), WorkerAnswerInvalid, "'text/html'"),
    "no content type": (said(VIEW % "", media_type=""), WorkerAnswerInvalid, "no content type"),
    "a field missing": (said('{"job_id": "w"}'), WorkerAnswerInvalid, "spec_hash: Field required"),
    "a field of another version": (
        said((VIEW % "")[:-1] + ', "eta_s": 3}'), WorkerAnswerInvalid, "eta_s: Extra inputs",
    ),
    "an unknown status": (said((VIEW % "").replace("running", "resting")), WorkerAnswerInvalid, "status: Input"),
    "another job": (said((VIEW % "").replace('"w"', '"v"')), WorkerAnswerInvalid, "answered about v"),
    "a bare NaN that is measured": (said(VIEW % (STEP % ("NaN", 1))), WorkerAnswerInvalid, "JSON has no number"),
    "an infinite number that is measured": (
        said(VIEW % (STEP % ("1e999", 1))), WorkerAnswerInvalid, "JSON has no number",
    ),
    "a bare NaN": (said(VIEW % (STEP % (1, "NaN"))), WorkerAnswerInvalid, "finite number"),
    "an infinite number": (said(VIEW % (STEP % (1, "-1e999"))), WorkerAnswerInvalid, "finite number"),
    "a NUL": (said((VIEW % "").replace('"h"', '"\\u0000"')), WorkerAnswerInvalid, "NUL"),
    "half a character": (said((VIEW % "").replace('"h"', '"\\ud800"')), WorkerAnswerInvalid, "Invalid JSON"),
    "not utf-8": (Said(status=200, content=b'{"job_id": "\xff"}'), WorkerAnswerInvalid, "not a JobView"),
    "a deep nest": (said("[" * 4000), WorkerAnswerInvalid, "not a JobView"),
    "too much": (said(VIEW % (" " * LONGEST_BYTES)), WorkerAnswerInvalid, f"more than {LONGEST_BYTES} bytes"),
    "an error without a problem document": (said("oops", status=500), WorkerAnswerInvalid, "500 without a problem"),
    "an error with infinite facts": (
        said(PROBLEM.replace("{}", '{"x": [1e999]}'), status=500), WorkerAnswerInvalid, "500 without a problem",
    ),
    "an error with a NUL": (said(PROBLEM.replace('"d"', '"\\u0000"'), status=500), WorkerAnswerInvalid, "NUL"),
    "compressed": (
        Said(status=200, content=gzip.compress((VIEW % "").encode()), headers={"content-encoding": "gzip"}),
        WorkerAnswerInvalid, "not a JobView",
    ),
    "a redirect": (
        said("", status=302, headers={"location": "http://127.0.0.1:9/"}), WorkerAnswerInvalid, "302 without a problem",
    ),
    "an error": (said(PROBLEM, status=500), WorkerRefused, "d"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_ANSWERS)
async def test_what_is_no_answer_is_said_in_words(case: str) -> None:
    answer, kind, words = NO_ANSWERS[case]
    async with client_of(saying(answer)) as worker:
        with pytest.raises(kind) as caught:
            await worker.get("windows", "w")
    assert type(caught.value) is kind
    assert words in str(caught.value)


async def test_words_for_numbers_and_a_written_out_nul_are_answers() -> None:
    view = VIEW % (STEP % ('"NaN"', 1))
    async with client_of(saying(said(view.replace('"h"', '"\\\\u0000"')))) as worker:
        seen = await worker.get("windows", "w")
    assert (seen.status, seen.spec_hash) == (JobStatus.RUNNING, "\\u0000")
    assert str(seen.progress[0].loss) == "nan"


async def test_a_worker_that_takes_its_time_does_not_answer(ticks: Ticks) -> None:
    answer = said(VIEW % "")
    for app in (saying(answer, after_s=2), saying(answer, drip_s=0.1)):
        async with client_of(app) as worker:
            began_s = ticks.lived_s
            with pytest.raises(WorkerUnreachable):
                await worker.get("windows", "w")
            assert ticks.lived_s - began_s < 1.5, "0.5 s were granted"


@pytest.mark.parametrize("url", ["http://worker:88O1", "http://a..b", "http://.", f"http://{'a' * 64}"])
async def test_an_address_that_cannot_be_one_does_not_answer(url: str) -> None:
    async with worker_session(None) as http:
        with pytest.raises(WorkerUnreachable, match=r"does not answer \(\w+: .*AFT_WORKER_URLS"):
            await WorkerClient(http, url).info()


async def test_an_address_with_a_password_and_a_token_beside_it_does_not_answer() -> None:
    async with worker_session(SecretStr("t" * 16)) as http:
        with pytest.raises(WorkerUnreachable, match="Cannot combine"):
            await WorkerClient(http, "http://user:password@127.0.0.1:9").info()


async def test_a_worker_of_another_protocol_is_none_of_ours() -> None:
    async with client_of(saying(said(INFO.model_dump_json()))) as worker:
        assert await worker.info() == INFO
    other = INFO.model_copy(update={"protocol": "v2"})
    async with client_of(saying(said(other.model_dump_json()))) as worker:
        with pytest.raises(WorkerAnswerInvalid, match="speaks protocol 'v2', this API 'v1'"):
            await worker.info()
