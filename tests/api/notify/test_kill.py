"""Kill -9 between the sending of a message and the note that it was sent: it is sent again, under the same id."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.processes import Service, free_port
from tests.api.conftest import spec_json
from tests.api.notify.conftest import Receiver
from tests.simulated_worker import SimulatedWorker

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
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str
) -> AsyncIterator[Service]:
    """The API as a process."""
    port = free_port()
    environment = {
        "AFT_PORT": str(port),
        "AFT_DATA_DIR": str(tmp_path / "api"),
        "AFT_WORKER_URLS": f'["{worker_url}"]',
        "AFT_NOTIFY_TIMEOUT_S": str(TIMEOUT_S),
        "AFT_OUTGOING_ALLOW": '["127.0.0.0/8"]',
        **({} if database_url is None else {"AFT_DATABASE_URL": database_url}),
    }
    made = Service(
        module="aft_api",
        environment=environment,
        health_url=f"http://127.0.0.1:{port}/healthz",
        log=tmp_path / "api.log",
    )
    made.start()
    await asyncio.to_thread(made.wait_well)
    yield made
    if made.process is not None and made.process.poll() is None:
        await asyncio.to_thread(made.stop)


async def until_received(receiver: Receiver, count: int, service: Service) -> None:
    async with asyncio.timeout(90):
        while len(receiver.received) < count:
            assert service.process is not None
            assert service.process.poll() is None, service.log.read_text()
            await asyncio.sleep(0.05)


async def test_message_that_was_sent_and_not_noted_is_sent_again(
    service: Service, receiver: Receiver, gate: threading.Event
) -> None:
    async with httpx.AsyncClient(base_url=service.health_url.removesuffix("/healthz"), timeout=30) as client:
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
