"""The simulated worker's HTTP side: the worker protocol, and `/simulation` for the benchmark that drives it."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from benchmarks.simulated_worker.answers import changes_json, info_json, job_json, loaded_json, problem_json
from benchmarks.simulated_worker.worker import BAD_ROW, Job, SimulatedWorker

ID_FIELDS = {
    "windows": "window_id",
    "analyses": "analysis_id",
    "evaluations": "evaluation_id",
    "exports": "export_id",
}
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""


class Refusal(Exception):
    """The worker does not do what it was asked."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.answer = Answer(status=status, body=problem_json(status, code, detail))
        super().__init__(detail)


class SimulatedApp:
    """An ASGI application without a framework: the worker must never be what a thousand runs wait for."""

    def __init__(self, worker: SimulatedWorker) -> None:
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        query = dict(parse_qsl(scope["query_string"].decode()))
        try:
            answer = await self._answer(scope["method"], scope["path"].strip("/").split("/"), query, body)
        except Refusal as refusal:
            answer = refusal.answer
        kind = b"application/json" if answer.status < 400 else b"application/problem+json"
        headers = [(b"content-type", kind), (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, method: str, parts: list[str], query: dict[str, str], body: bytes) -> Answer:
        match method, parts:
            case "GET", ["v1", "healthz"]:
                return Answer(status=200, body=b'{"status":"ok"}')
            case "GET", ["v1", "worker"]:
                return Answer(status=200, body=info_json(self._worker))
            case "GET", ["v1", "events"]:
                return await self._changes(query)
            case "POST", ["v1", "checks"]:
                return Answer(status=204)
            case "PUT", ["v1", "runs", run_id]:
                return self._load(run_id, json.loads(body))
            case "GET", ["v1", "runs", run_id]:
                return self._loaded(run_id)
            case "DELETE", ["v1", "runs", run_id]:
                self._admit(run_id, int(query["fence_token"]))
                self._worker.release(run_id)
                return Answer(status=204)
            case "PUT", ["v1", kind, job_id] if kind in ID_FIELDS:
                return self._put(kind, job_id, json.loads(body))
            case "GET", ["v1", kind, job_id] if kind in ID_FIELDS:
                return await self._get(job_id, float(query.get("wait_s", 0)), int(query.get("after_step", -1)))
            case "POST", ["v1", "windows", job_id, "cancel"]:
                job = self._job(job_id)
                self._admit(job.run_id, int(query["fence_token"]))
                self._worker.cancel(job)
                return self._view(job)
            case "PUT", ["simulation", "held"]:
                if json.loads(body):
                    self._worker.hold()
                else:
                    self._worker.let_go()
                return Answer(status=204)
            case "GET", ["simulation", "trainings"]:
                return Answer(status=200, body=self._trainings())
        raise Refusal(404, "not_found", f"There is no {method} {'/'.join(parts)}.")

    def _load(self, run_id: str, request: dict[str, Any]) -> Answer:
        _refuse_other_hash(request)
        self._admit(run_id, request["fence_token"])
        self._worker.runs[run_id] = request
        return self._loaded(run_id)

    def _loaded(self, run_id: str) -> Answer:
        if run_id not in self._worker.runs:
            raise Refusal(409, "run_not_loaded", f"Run {run_id} is not held.")
        return Answer(status=200, body=loaded_json(run_id, self._worker.runs[run_id]["spec_hash"]))

    def _put(self, kind: str, job_id: str, request: dict[str, Any]) -> Answer:
        _refuse_other_hash(request)
        spec = request["spec"]
        if spec[ID_FIELDS[kind]] != job_id:
            raise Refusal(422, "invalid_id", f"{ID_FIELDS[kind]} in the body is not {job_id}.")
        self._admit(spec["run_id"], request["fence_token"])
        known = self._worker.jobs.get(job_id)
        if known is not None and known.spec_hash != request["spec_hash"]:
            raise Refusal(409, "spec_conflict", f"{job_id} was accepted with another spec.")
        if known is None:
            run = self._worker.runs.get(spec["run_id"])
            if run is None:
                raise Refusal(409, "run_not_loaded", f"Run {spec['run_id']} is not held.")
            if request["settles"]:
                self._worker.settle(spec["run_id"])
            bad_row = run["spec"]["spec"]["name"] == BAD_ROW
            known = Job(kind=kind, job_id=job_id, spec_hash=request["spec_hash"], spec=spec, bad_row=bad_row)
            self._worker.accept(known)
        return self._view(known)

    async def _changes(self, query: dict[str, str]) -> Answer:
        stream, after = query.get("stream", ""), int(query.get("after", 0))
        waits = {name: float(query.get(name, default)) for name, default in (("wait_s", 0.0), ("steps_wait_s", 1.0))}
        await self._worker.wait_for_changes(after, **waits)
        return Answer(status=200, body=changes_json(self._worker, stream, after))

    async def _get(self, job_id: str, wait_s: float, after_step: int) -> Answer:
        job = self._job(job_id)
        await self._worker.wait(job, wait_s=wait_s, after_step=after_step)
        return self._view(job)

    def _job(self, job_id: str) -> Job:
        job = self._worker.jobs.get(job_id)
        if job is None:
            raise Refusal(404, "job_not_found", f"No job {job_id}; put it again.")
        return job

    def _admit(self, run_id: str, fence_token: int) -> None:
        if fence_token < self._worker.fences.get(run_id, 0):
            raise Refusal(412, "stale_fence", f"Run {run_id} has a newer owner.")
        self._worker.fences[run_id] = fence_token

    def _view(self, job: Job) -> Answer:
        return Answer(status=200, body=job_json(job, asyncio.get_running_loop().time()))

    def _trainings(self) -> bytes:
        trainings = self._worker.trainings
        waiting = sum(job.kind == "windows" and not job.ended for job in self._worker.jobs.values())
        more_than_once = [window_id for window_id, times in trainings.items() if times > 1]
        return json.dumps(
            {
                "windows": len(trainings),
                "waiting": waiting,
                "more_than_once": more_than_once,
                "misplaced": self._worker.misplaced,
            }
        ).encode()


def _refuse_other_hash(request: dict[str, Any]) -> None:
    canonical = json.dumps(request["spec"], sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != request["spec_hash"]:
        raise Refusal(422, "spec_hash_mismatch", "spec_hash is not the spec's digest.")


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
