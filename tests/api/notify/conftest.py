"""A real HTTP receiver and a Slack on loopback, notifications to send there, and an API that may."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aft_api.db.engine import Store
from aft_api.notify.message import Notification
from aft_api.runs.repository import get_run
from aft_contracts import EventKind, Option, Reject, Repair, RepairKind, Review, ReviewStatus
from tests.answering import answering
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.simulated_worker import SimulatedWorker
from tests.slack_server import HOOK_PATH, SIGNING_SECRET, TOKEN, Message, Slack, slack_app

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EARLY_POISON = "s54"
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
ASKING = {"repair": {"ask_before_rollback": True}}
SLACK = {"slack_channel": "C1"}


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


@pytest.fixture
def slack() -> Slack:
    return Slack()


@pytest.fixture
async def told_api(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, slack: Slack
) -> AsyncIterator[Api]:
    """An API that may speak to a Slack and a webhook of ours."""
    async with serving(slack_app(slack)) as slack_url:
        settings = settings_for(
            tmp_path,
            database_url,
            worker_url,
            webhook_secret=SecretStr(WEBHOOK_SECRET),
            link_secret=SecretStr("a secret of forty characters, more or less"),
            slack_token=SecretStr(TOKEN),
            slack_signing_secret=SecretStr(SIGNING_SECRET),
            slack_base_url=f"{slack_url}/api/",
            slack_approvers=("U1",),
            slack_webhooks={"team": SecretStr(f"{slack_url}/{HOOK_PATH}")},
            public_url="http://aft.example",
        )
        async with running_api(settings, worker) as running:
            yield running


async def waiting(api: Api, notify: dict[str, Any], **changes: Any) -> tuple[str, str]:
    """A run that asks a question; its id and the question's."""
    api.worker.poison = {EARLY_POISON}
    run_id = await api.start(**{**ASKING, **changes}, notify=notify)
    return run_id, (await api.until(run_id, "waiting"))["review_id"]


async def question(slack: Slack) -> Message:
    await slack.until(lambda: bool(slack.messages))
    return slack.messages[0]


@asynccontextmanager
async def busy(store: Store, run_id: str) -> AsyncIterator[None]:
    """Somebody else writes to this run meanwhile, and is not done."""
    async with store.sessions.begin() as session:
        await get_run(session, run_id, for_update=True)
        yield
