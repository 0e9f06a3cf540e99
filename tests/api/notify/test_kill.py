"""Kill -9 between two steps that belong together: a message is sent again, and no click is lost in silence."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from aft_api.db.engine import open_store
from tests.acceptance.processes import Service, free_port
from tests.api.conftest import serving, spec_json
from tests.api.notify.conftest import ASKING, EARLY_POISON, SLACK, Receiver, busy
from tests.simulated_worker import SimulatedWorker
from tests.slack_server import SIGNING_SECRET, TOKEN, Slack, click, pressed, slack_app

pytestmark = pytest.mark.anyio
TIMEOUT_S = 5.0


@pytest.fixture
def gate(receiver: Receiver) -> Iterator[threading.Event]:
    """Closed, it keeps the receiver from answering what it has read."""
    opened = threading.Event()
    receiver.before_answer = lambda: opened.wait(60)
    yield opened
    opened.set()


@pytest.fixture
async def service(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, slack: Slack
) -> AsyncIterator[Service]:
    """The API as a process."""
    async with serving(slack_app(slack)) as slack_url:
        made = service_of(tmp_path, database_url, worker_url, slack_url)
        made.start()
        try:
            await asyncio.to_thread(made.wait_well)
            yield made
        finally:
            await asyncio.to_thread(made.stop)


def service_of(tmp_path: Path, database_url: str | None, worker_url: str, slack_url: str) -> Service:
    port = free_port()
    environment = {
        "AFT_PORT": str(port),
        "AFT_DATA_DIR": str(tmp_path / "api"),
        "AFT_WORKER_URLS": f'["{worker_url}"]',
        "AFT_NOTIFY_TIMEOUT_S": str(TIMEOUT_S),
        "AFT_DRAIN_S": "1",
        "AFT_OUTGOING_ALLOW": '["127.0.0.0/8"]',
        "AFT_SLACK_TOKEN": TOKEN,
        "AFT_SLACK_SIGNING_SECRET": SIGNING_SECRET,
        "AFT_SLACK_BASE_URL": f"{slack_url}/api/",
        "AFT_SLACK_APPROVERS": '["U1"]',
        **({} if database_url is None else {"AFT_DATABASE_URL": database_url}),
    }
    return Service(
        module="aft_api",
        environment=environment,
        health_url=f"http://127.0.0.1:{port}/healthz",
        log=tmp_path / "api.log",
    )


def client_of(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.health_url.removesuffix("/healthz"), timeout=30)


async def until_received(receiver: Receiver, count: int, service: Service) -> None:
    async with asyncio.timeout(90):
        while len(receiver.received) < count:
            assert service.process is not None
            assert service.process.poll() is None, service.log.read_text()
            await asyncio.sleep(0.05)


async def test_message_that_was_sent_and_not_noted_is_sent_again(
    service: Service, receiver: Receiver, gate: threading.Event
) -> None:
    async with client_of(service) as client:
        answer = await client.post("/runs", json=spec_json(notify={"webhooks": [receiver.url + "hook"]}))
        assert answer.status_code == 201, answer.text
        await until_received(receiver, 1, service)
        service.kill()
        gate.set()
        service.start()
        await asyncio.to_thread(service.wait_well)
        await until_received(receiver, 2, service)
        async with asyncio.timeout(30):
            while (found := (await client.get("/notifications")).json())["backlog"]["pending"]:
                await asyncio.sleep(0.05)
    first, again = receiver.received
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    assert [(one["state"], one["attempts"]) for one in found["notifications"]] == [("sent", 2)]


async def asked(client: httpx.AsyncClient, worker: SimulatedWorker, slack: Slack) -> tuple[str, str]:
    """A run that has asked its question in Slack; its id and the question's."""
    worker.poison = {EARLY_POISON}
    answer = await client.post("/runs", json=spec_json(**ASKING, notify=SLACK))
    assert answer.status_code == 201, answer.text
    await slack.until(lambda: bool(slack.messages), within_s=90)
    return answer.json()["run_id"], slack.messages[0].buttons["aft_approve"]


async def test_click_that_was_acknowledged_is_on_record_whatever_is_killed_then(
    service: Service, worker: SimulatedWorker, slack: Slack
) -> None:
    async with client_of(service) as client:
        _, review_id = await asked(client, worker, slack)
        [taken] = await click(client, pressed("aft_reject", review_id))
        service.kill()
        service.start()
        await asyncio.to_thread(service.wait_well)
        assert (taken.status_code, taken.content) == (200, b"")
        review = (await client.get(f"/reviews/{review_id}")).json()
    assert (review["status"], review["decided_by"], review["decision"]["answer"]) == ("decided", "slack:U1", "reject")


async def test_click_that_a_kill_overtakes_was_not_acknowledged_and_can_be_made_again(
    service: Service, worker: SimulatedWorker, slack: Slack, tmp_path: Path, database_url: str | None
) -> None:
    store = open_store(database_url, tmp_path / "api")
    async with client_of(service) as client:
        run_id, review_id = await asked(client, worker, slack)
        async with busy(store, run_id):
            [slow] = await click(client, pressed("aft_reject", review_id))
            await slack.until(lambda: len(slack.whispers) == 1)
            service.kill()
        service.start()
        await asyncio.to_thread(service.wait_well)
        assert slow.status_code == 503
        assert (await client.get(f"/reviews/{review_id}")).json()["status"] == "open"
        assert len(slack.messages[0].buttons) == 3
        [again] = await click(client, pressed("aft_reject", review_id))
        assert again.status_code == 200
        assert (await client.get(f"/reviews/{review_id}")).json()["decided_by"] == "slack:U1"
    await store.engine.dispose()
