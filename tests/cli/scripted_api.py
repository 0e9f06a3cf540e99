"""A small API that speaks the control plane's routes from lists held in memory."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aft_contracts import (
    FINISHED,
    CheckpointView,
    CommandRecord,
    Contract,
    DataPreview,
    Decision,
    DiagnosisReport,
    Event,
    EventKind,
    Problem,
    ReportFormat,
    Review,
    ReviewStatus,
    RunSpec,
    RunStatus,
    RunView,
    Schedule,
    StepRecord,
    WorkerInfo,
    WorkerState,
    WorkerView,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(kw_only=True)
class ScriptedApi:
    """What the API knows; `on_look` is called with each request's path before it is answered."""

    url: str = ""
    runs: dict[str, RunView] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    diagnoses: list[DiagnosisReport] = field(default_factory=list)
    reviews: dict[str, Review] = field(default_factory=dict)
    checkpoints: list[CheckpointView] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    told: list[CommandRecord] = field(default_factory=list)
    samples: dict[ReportFormat, bytes] = field(default_factory=dict)
    sample_queries: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    preview: DataPreview | None = None
    previews_asked: list[dict[str, Any]] = field(default_factory=list)
    on_look: Callable[[str], None] = lambda _: None
    away: int = 0
    """How many of the next questions it has no answer to."""
    outbox: Callable[[str, str, dict[str, str]], Any] = lambda *_: None

    def happen(self, kind: EventKind, message: str, run_id: str = "r1") -> None:
        """Record an event."""
        self.events.append(Event(seq=len(self.events) + 1, run_id=run_id, at=AT, kind=kind, message=message))

    def change(self, run_id: str = "r1", **changes: Any) -> None:
        """Change a run."""
        self.runs[run_id] = self.runs[run_id].model_copy(update=changes)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and body of the response."""
        self.on_look(path)
        if self.away:
            self.away -= 1
            return _problem(503, "store_unavailable", "The store does not answer. Try again in a moment.")
        if match := re.fullmatch(r"/reviews/([^/]+)", path):
            review = self.reviews.get(match[1])
            return (200, review) if review else _problem(404, "review_not_found", f"There is no review {match[1]}.")
        if path == "/reviews":
            return 200, self._reviews(query["state"], query.get("after"))
        if path.startswith("/notifications") and (answer := self.outbox(method, path, query)):
            return 200, answer
        if path == "/workers":
            return 200, {"workers": [_worker("active"), {"url": "http://w:2", "reachable": False, "state": "unseen"}]}
        if match := re.fullmatch(r"/workers/a%20b/(drain|resume)", path):
            return 200, _worker("draining" if match[1] == "drain" else "active")
        if path == "/data/preview":
            self.previews_asked.append(body)
            return (200, self.preview) if self.preview else _problem(422, "bad_row", "a.jsonl, line 3: no.")
        if path == "/runs":
            return (200, {"runs": list(self.runs.values())}) if method == "GET" else self._create(body)
        run_id, _, rest = path.removeprefix("/runs/").partition("/")
        if run_id not in self.runs:
            return _problem(404, "run_not_found", f"There is no run {run_id!r}.")
        return self._about(self.runs[run_id], rest, method, query, body)

    def _reviews(self, state: str, after: str | None) -> dict[str, Any]:
        """One review a page."""
        found = [one for one in self.reviews.values() if state in {"all", one.status} and one.review_id > (after or "")]
        return {"reviews": found[:1], "next_after": found[0].review_id if len(found) > 1 else None}

    def _about(self, run: RunView, rest: str, method: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        after = int(query.get("after", -1))
        match rest:
            case "":
                return 200, run
            case "events":
                later = [event for event in self.events if event.seq > after]
                return 200, {"events": later[: int(query.get("limit", 200))]}
            case "steps":
                return 200, {"steps": [step for step in self.steps if step.step > after]}
            case "diagnoses":
                return 200, {"diagnoses": self.diagnoses}
            case "blacklist":
                return 200, {"blacklist": list(run.schedule.blacklist)}
            case "checkpoints":
                asked = {} if query["verify"] == "true" else {"verified": None, "damage": None}
                return 200, {"checkpoints": [one.model_copy(update=asked) for one in self.checkpoints]}
            case "samples":
                return self._samples(query)
            case "commands" if method == "GET":
                return 200, {"commands": [told for told in self.told if told.seq > after]}
            case "commands" if method == "POST":
                return self._command(run, body)
        return _problem(404, "route_not_found", rest)

    def _samples(self, query: dict[str, str]) -> tuple[int, Any]:
        self.sample_queries.append(query)
        if not self.samples:
            return _problem(409, "nothing_trained_yet", "No window is committed yet.")
        return 200, self.samples[ReportFormat(query.get("format", "json"))]

    def _create(self, body: Any) -> tuple[int, Any]:
        run = run_view(f"r{len(self.runs) + 1}", spec=RunSpec.model_validate(body))
        self.runs[run.run_id] = run
        return 201, run

    def _command(self, run: RunView, body: Any) -> tuple[int, Any]:
        if run.status in FINISHED:
            return _problem(409, "run_finished", f"Run {run.run_id} has {run.status}.")
        if body.get("review_id"):
            review = self.reviews[body["review_id"]]
            if review.status is ReviewStatus.DECIDED:
                return _problem(409, "review_already_decided", f"Review {review.review_id} was already decided by ann.")
            answer = body.get("answer", "reject" if body["kind"] == "stop" else body["kind"])
            decision = Decision(answer=answer, repair=body.get("repair"), message=body.get("message", ""))
            self.reviews[review.review_id] = review.model_copy(
                update={"status": ReviewStatus.DECIDED, "decision": decision, "decided_by": "ann", "decided_at": AT}
            )
        self.commands.append(body)
        record = {"command_id": f"c{len(self.commands)}", "run_id": run.run_id, "command": body, "status": "pending"}
        return 202, record | {"outcome": "", "given_by": "ann", "channel": "cli", "created_at": AT.isoformat()}


def run_view(run_id: str, *, spec: RunSpec | None = None, **changes: Any) -> RunView:
    """A run as the API would show it."""
    spec = spec or RunSpec.model_validate(
        {"model": {"path": "/m"}, "data": {"domains": {"chat": {"path": "/d.jsonl"}}}}
    )
    given = {"status": RunStatus.RUNNING, "step": 3, "generation": 0, "schedule": Schedule()} | changes
    return RunView(run_id=run_id, name=spec.name, spec=spec, created_at=AT, updated_at=AT, **given)


@contextmanager
def serving(api: ScriptedApi) -> Iterator[ScriptedApi]:
    """`api` on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _problem(status: int, code: str, detail: str) -> tuple[int, Problem]:
    return status, Problem(title=code.replace("_", " "), status=status, code=code, detail=detail)


def _plain(value: Any) -> Any:
    if isinstance(value, Contract):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _handler(api: ScriptedApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(address.query).items()}
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api.headers.append(dict(self.headers))
            status, body = api.answer(self.command, address.path, query, json.loads(sent) if sent else None)
            text = body if isinstance(body, bytes) else json.dumps(_plain(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            return

    return Handler


def _worker(state: str) -> WorkerView:
    info = WorkerInfo(worker_id="a b", platform="cpu", devices=1, versions={"jax": "0.10"}, slots=2)
    return WorkerView(
        url="http://w:1",
        reachable=True,
        state=WorkerState(state),
        worker_id="a b",
        heartbeat_age_s=3.2,
        run_ids=("r1",),
        info=info,
    )
