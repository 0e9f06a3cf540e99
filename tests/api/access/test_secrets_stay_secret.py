"""A process with known secrets, and a search for them in its logs, its files and its answers."""

import asyncio
import base64
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from aft_api.access.local import create_locally
from aft_api.redact import HIDDEN, RedactedFormatter, Redactor, secrets_in
from aft_api.settings import Settings
from aft_api.supervisor.saver import open_saver
from aft_contracts import Role, TokenRequest
from tests.acceptance.processes import Service, free_port
from tests.api.access.conftest import bearer
from tests.api.conftest import spec_json

SECRETS = {
    "AFT_WORKER_TOKEN": "known-worker-token-1234567890",
    "AFT_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"known-webhook-secret-0123456789ab").decode(),
    "AFT_SLACK_TOKEN": "xoxb-1234567890-knownslacktoken",
    "AFT_SLACK_SIGNING_SECRET": "known-slack-signing-secret",
    "AFT_LINK_SECRET": "known-link-secret-of-more-than-32-characters",
}
NAMED = {
    "AFT_SLACK_WEBHOOKS": {"team": "https://slack.inside.example/known-slack-webhook"},
    "AFT_WEBHOOK_SECRETS": {"ops.example": "whsec_" + base64.b64encode(b"known-secret-of-one-receiver-012").decode()},
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A real API that asks for tokens; no worker and no Slack answer it."""
    port = free_port()
    process = Service(
        module="aft_api",
        environment={
            **SECRETS, **{name: json.dumps(value) for name, value in NAMED.items()},
            "AFT_PORT": str(port), "AFT_DATA_DIR": str(tmp_path / "data"), "AFT_AUTH": "required",
            "AFT_WORKER_URLS": '["http://127.0.0.1:9"]', "AFT_SLACK_BASE_URL": "http://127.0.0.1:9/",
            "AFT_WORKER_LOOK_S": "0.2",
        },
        health_url=f"http://127.0.0.1:{port}/healthz",
        log=tmp_path / "api.log",
    )  # fmt: skip
    yield process
    process.stop()


def calls(client: httpx.Client, admin: str) -> Iterator[httpx.Response]:
    """Requests that go well and that go wrong in every way there is, with secrets where they should not be."""
    headers = bearer(admin)
    for path in ("/runs", "/workers", "/tokens", "/openapi.json", "/nowhere", f"/runs/{admin}", f"/reviews/{admin}"):
        yield client.get(path, headers=headers)
    yield client.post("/runs", json=spec_json(), headers=headers)
    yield client.post("/tokens", json={"name": "x", "role": admin[:50]}, headers=headers)
    yield client.post("/tokens", content=b"{", headers=headers | {"Content-Type": "application/json"})
    yield client.get("/runs", headers=bearer(SECRETS["AFT_WORKER_TOKEN"]))
    yield client.get("/runs", headers=bearer(admin + "x"))
    yield client.post("/workers/w/heartbeat", json={}, headers=bearer(SECRETS["AFT_WORKER_TOKEN"]))
    yield client.post("/slack/interactions", content=b"payload=1", headers={"X-Slack-Signature": "v0=00"})


def test_no_secret_is_in_a_log_a_file_or_an_answer(service: Service, tmp_path: Path) -> None:
    asked = TokenRequest(name="ada", role=Role.ADMIN)
    admin = asyncio.run(create_locally(Settings(data_dir=tmp_path / "data"), asked, by="test")).token
    service.start()
    service.wait_well()
    base_url = service.health_url.removesuffix("/healthz")
    with httpx.Client(base_url=base_url, timeout=30) as client:
        answers = list(calls(client, admin))
    service.stop()
    assert {answer.status_code for answer in answers} >= {200, 201, 401, 403, 404, 422}
    with sqlite3.connect(tmp_path / "data/control.db") as connection:
        assert connection.execute("SELECT count(*) FROM tokens").fetchone() == (1,)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    written = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written[str(tmp_path / "api.log")]) > 0
    named = {name: secret for name, secrets in NAMED.items() for secret in secrets.values()}
    for name, secret in {**SECRETS, **named, "token": admin.split("_", 2)[2]}.items():
        bare = secret.removeprefix("whsec_")
        assert [path for path, content in written.items() if bare.encode() in content] == [], name
        leaky = [answer.url.path for answer in answers if bare in answer.text]
        # What the sender itself put into the path or the body may come back to the sender.
        own = {f"/runs/{admin}", f"/reviews/{admin}", "/tokens"} if name == "token" else set()
        assert set(leaky) <= own, name


def rendered(*secrets: str, **fields: Any) -> str:
    """A line of the log as the API writes it."""
    lines: list[str] = []

    class Into:
        def msg(self, line: str) -> None:
            lines.append(line)

        error = info = msg

    log = structlog.wrap_logger(
        Into(),
        processors=[
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            Redactor(secrets),
        ],
    )
    log.error("it_happened", **fields)
    return "".join(lines)


def test_secrets_under_a_name_are_known_too() -> None:
    settings = Settings(slack_webhooks=NAMED["AFT_SLACK_WEBHOOKS"], webhook_secrets=NAMED["AFT_WEBHOOK_SECRETS"])
    assert secrets_in(settings) == {secret for secrets in NAMED.values() for secret in secrets.values()}


def test_what_a_library_logs_is_searched_too() -> None:
    formatter = RedactedFormatter(Redactor(["hunter2-and-more"]))
    with pytest.raises(ValueError, match="hunter2") as caught:
        int("hunter2-and-more")
    trace = (type(caught.value), caught.value, caught.value.__traceback__)
    line = formatter.format(logging.LogRecord("x", logging.ERROR, "x.py", 1, "for %s", ("hunter2-and-more",), trace))
    assert "ValueError: invalid literal" in line
    assert HIDDEN in line
    assert "hunter2" not in line


def test_process_has_its_libraries_logs_searched() -> None:
    told = "import logging; from aft_api.__main__ import write_logs; from aft_api.settings import Settings; "
    told += (
        "write_logs(Settings()); logging.getLogger('uvicorn.error').error('got %s', 'known-link-secret-' + 'x' * 20)"
    )
    environment = {**os.environ, "AFT_LINK_SECRET": "known-link-secret-" + "x" * 20}
    done = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert f"uvicorn.error: got {HIDDEN}" in done.stdout
    assert "known-link-secret" not in done.stdout + done.stderr


def test_traceback_is_searched_too() -> None:
    with pytest.raises(ValueError, match="hunter2") as caught:
        int("hunter2-and-more")
    line = rendered("hunter2-and-more", exc_info=caught.value)
    assert "ValueError: invalid literal" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "secret",
    [
        "aft_0123456789ab_" + "x" * 43, "whsec_c2VjcmV0c2VjcmV0", "xoxb-1-2-abc",
        "https://hooks.slack.com/services/T0/B0/xyz", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1In0.c2ln",
    ],
)  # fmt: skip
def test_secret_that_a_request_brought_is_known_by_its_shape(secret: str) -> None:
    line = rendered(error=f"refused {secret} at once")
    assert secret not in line
    assert HIDDEN in line


def test_link_that_answers_a_question_is_hidden() -> None:
    line = rendered(path="/answer/WyJydW4xOjA6ZCIsImFwcHJvdmUiXQ.aRk0.x_y-z")
    assert f"/answer/{HIDDEN}" in line
    assert "WyJ" not in line


def test_credentials_in_headers_and_urls_are_hidden() -> None:
    line = rendered(header="Authorization: Bearer abc.def", url="postgresql://aft:pass@db/aft")
    assert "abc.def" not in line
    assert "pass" not in line
    assert "@db/aft" in line


@given(st.text(min_size=8, max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_known_secret_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    line = Redactor([secret])(None, "info", before + secret + after)
    assert secret not in line or secret in HIDDEN


def test_settings_show_no_secret() -> None:
    told = {name.removeprefix("AFT_").lower(): value for name, value in SECRETS.items()}
    settings = Settings(database_url="postgresql://aft:p%40ss-word@db/aft", **told)
    assert secrets_in(settings) == {*SECRETS.values(), "p%40ss-word", "p@ss-word"}
    for shown in (repr(settings), str(settings), settings.model_dump_json(exclude={"database_url"})):
        assert [secret for secret in secrets_in(settings) if secret in shown] == []


@pytest.mark.anyio
async def test_stored_state_builds_no_object_and_runs_nothing(tmp_path: Path) -> None:
    """Whoever can write LangGraph's tables must not run code here (strict msgpack, no pickle)."""
    permissive = JsonPlusSerializer(allowed_msgpack_modules=True, pickle_fallback=True)
    written = permissive.dumps_typed({"x": Settings(port=1234)})
    async with open_saver(None, tmp_path) as saver:
        read = saver.serde.loads_typed(written)
        assert not isinstance(read["x"], Settings)
        with pytest.raises((NotImplementedError, ValueError)):
            saver.serde.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))
    assert isinstance(permissive.loads_typed(written)["x"], Settings), "the sample proves nothing"
