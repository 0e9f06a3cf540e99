"""A real HTTP receiver on loopback, and notifications to send to it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from aft_api.notify.message import Notification
from aft_contracts import EventKind, Option, Reject, Repair, RepairKind, Review, ReviewStatus
from tests.answering import answering

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers every request with `status`, `headers` and `body`, after `delay_s` and `before_answer`, or hangs up.

    It keeps what it got.
    """

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    hangs_up: bool = False
    before_answer: Callable[[], object] = lambda: None
    received: list[Received] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.received.append(Received(path=self.path, headers=headers, body=body))
            time.sleep(state.delay_s)
            state.before_answer()
            if state.hangs_up:
                self.close_connection = True
                return
            self.send_response(state.status)
            for name, value in {"content-length": str(len(state.body)), **state.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output for the test."""

    with answering(Answering) as url:
        state.url = url
        yield state


@pytest.fixture
def review() -> Review:
    return Review(
        review_id="run1:0:4:d:review",
        run_id="run1",
        diagnosis_id="run1:0:4:d",
        question="Verdict data. Blacklisting chat-17 <b> & more. Approve?",
        proposal=Repair(kind=RepairKind.BLACKLIST, blacklist=("chat-17",), reasons=("the replay was clean without",)),
        options=(
            Option(name="go_on", command=Reject(review_id="run1:0:4:d:review"), effect="Changes nothing & trains on."),
        ),
        recommended="go_on",
        status=ReviewStatus.OPEN,
        created_at=AT,
    )


@pytest.fixture
def notification(review: Review) -> Callable[..., Notification]:
    def make(**changes: Any) -> Notification:
        facts = {
            "notification_id": "run1_review_requested_run1:0:4:d",
            "kind": EventKind.REVIEW_REQUESTED,
            "run_id": "run1",
            "run_name": "tune <the> model",
            "at": AT,
            "text": "Step 44 was withheld & needs a look.",
            "details": {"step": 44, "score": float("inf")},
            "review": review,
            "run_url": "http://aft.example/runs/run1",
            "review_url": "http://aft.example/reviews/run1:0:4:d:review",
        } | changes
        return Notification(**facts)

    return make
