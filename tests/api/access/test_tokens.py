"""API tokens: made, used, ended; never kept in plain text."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aft_api.access.gate import HEADERS
from aft_api.access.identity import Authenticator
from aft_api.access.local import NoAuthentication, create_locally, list_locally, refuse_open_door, revoke_locally
from aft_api.access.rate import BURST_S, Buckets
from aft_api.access.repository import find_token, list_tokens, make_token, note_use, revoke_token
from aft_api.access.secrets import digest_of, id_in, is_same, new_secret
from aft_api.clock import utc_now
from aft_api.db.engine import Store, open_store
from aft_api.settings import Settings
from aft_contracts import Role, TokenRequest
from tests.api.access.conftest import WORKER_TOKEN, Closed, bearer

pytestmark = pytest.mark.anyio
ASKED = TokenRequest(name="ci", role=Role.OPERATOR, days=2)


def test_token_has_a_form_of_its_own_and_256_random_bits() -> None:
    first, second = new_secret(), new_secret()
    assert id_in(first.text) == first.token_id
    assert len(first.text.split("_", 2)[2]) == 43
    assert first.text != second.text
    assert is_same(first.text, digest_of(first.text))
    assert not is_same(second.text, digest_of(first.text))


@given(st.text(max_size=80))
def test_no_other_text_has_that_form(text: str) -> None:
    assert id_in(text) is None


async def test_token_is_found_until_it_ends(store: Store) -> None:
    async with store.sessions.begin() as session:
        made = await make_token(session, ASKED, by="me", clock=utc_now)
    assert (made.view.name, made.view.role, made.view.created_by) == ("ci", Role.OPERATOR, "me")
    token_id = made.view.token_id

    async def found(text: str = made.token, after: timedelta = timedelta()) -> bool:
        async with store.reads() as session:
            return await find_token(session, token_id, text, clock=lambda: utc_now() + after) is not None

    assert await found()
    assert not await found(made.token[:-1] + ("A" if made.token[-1] != "A" else "B"))
    assert await found(after=timedelta(days=1, hours=23))
    assert not await found(after=timedelta(days=2, minutes=1))
    async with store.sessions.begin() as session:
        await note_use(session, token_id, clock=utc_now)
        ended = await revoke_token(session, token_id, clock=utc_now)
    assert ended.revoked_at is not None
    assert not await found()
    async with store.sessions.begin() as session:
        again = await revoke_token(session, token_id, clock=lambda: utc_now() + timedelta(days=1))
        assert again.revoked_at == ended.revoked_at
        assert await list_tokens(session) == [again]


def files_with(secret: bytes, folder: Path) -> list[str]:
    """Names of the files that hold it."""
    return [path.name for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


async def test_text_of_a_token_is_in_no_file_of_the_store(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    made = await create_locally(settings, ASKED, by="me")
    assert [view.token_id for view in await list_locally(settings)] == [made.view.token_id]
    secret = made.token.split("_", 2)[2].encode()
    assert files_with(secret, tmp_path) == []
    with sqlite3.connect(tmp_path / "control.db") as connection:
        assert connection.execute("SELECT digest FROM tokens").fetchall() == [(digest_of(made.token),)]
    connection.close()


async def test_admin_makes_lists_and_revokes_over_http(closed: Closed) -> None:
    client, admin = closed.api.client, closed.headers(Role.ADMIN)
    made = await client.post("/tokens", json={"name": "x", "role": "viewer"}, headers=admin)
    assert made.status_code == 201
    token, view = made.json()["token"], made.json()["view"]
    assert view["created_by"] == "the admin"
    assert (await client.get("/runs", headers=bearer(token))).status_code == 200
    listed = await client.get("/tokens", headers=admin)
    assert token not in listed.text
    assert "digest" not in listed.text
    [own] = [one for one in listed.json()["tokens"] if one["token_id"] == view["token_id"]]
    assert own["last_used_at"] is not None
    assert (await client.delete(f"/tokens/{view['token_id']}", headers=admin)).status_code == 200
    refused = await client.get("/runs", headers=bearer(token))
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert (await client.delete("/tokens/000000000000", headers=admin)).json()["code"] == "token_not_found"


async def test_audit_names_the_bearer_whatever_he_calls_himself(closed: Closed) -> None:
    headers = closed.headers(Role.OPERATOR) | {"X-Aft-User": "somebody else", "X-Aft-Channel": "cli"}
    closed.api.client.headers.update(headers)
    run_id = await closed.api.start()
    told = await closed.api.command(run_id, "pause")
    assert (told.json()["given_by"], told.json()["channel"]) == ("the operator", "cli")
    [created] = await closed.api.events(run_id, "run_created")
    assert "the operator" in created["message"]


async def test_loopback_without_tokens_needs_none_but_believes_no_wrong_one(local_api) -> None:
    assert (await local_api.client.get("/tokens")).status_code == 200
    assert (await local_api.client.get("/runs", headers=bearer("aft_0123456789ab_" + "x" * 43))).status_code == 401
    assert (await local_api.client.get("/runs", headers={"Authorization": "Basic eDp5"})).status_code == 401


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
async def test_page_in_a_browser_cannot_use_an_api_without_tokens(local_api, headers: dict[str, str]) -> None:
    refused = await local_api.client.post("/workers/w/drain", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")


async def test_own_page_can(local_api) -> None:
    origin = str(local_api.client.base_url).rstrip("/")
    assert (await local_api.client.get("/runs", headers={"Origin": origin})).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "aft.example"])
async def test_other_address_without_authentication_is_refused(tmp_path: Path, host: str) -> None:
    settings = Settings(data_dir=tmp_path, host=host)
    assert settings.requires_authentication
    with pytest.raises(NoAuthentication, match="aft token create"):
        await refuse_open_door(settings)
    made = await create_locally(settings, ASKED, by="me")
    await refuse_open_door(settings)
    await revoke_locally(settings, made.view.token_id)
    with pytest.raises(NoAuthentication):
        await refuse_open_door(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
async def test_loopback_is_not_refused(tmp_path: Path, host: str) -> None:
    settings = Settings(data_dir=tmp_path, host=host)
    assert not settings.requires_authentication
    await refuse_open_door(settings)


async def test_heartbeat_asks_for_the_workers_credential_wherever_there_is_one(closed: Closed) -> None:
    for headers in ({}, closed.headers(Role.ADMIN), bearer(WORKER_TOKEN + "x")):
        assert (await closed.api.client.post("/workers/w/heartbeat", headers=headers)).status_code in (401, 403)
    assert (await closed.api.client.post("/workers/w/heartbeat", headers=closed.headers(None))).status_code == 422


async def test_only_the_whole_worker_token_counts(store: Store) -> None:
    known = Authenticator(settings=Settings(worker_token=WORKER_TOKEN), store=store, oidc=None, clock=utc_now)
    assert known.is_worker(WORKER_TOKEN)
    assert not any(known.is_worker(text) for text in ("", WORKER_TOKEN[:-1], WORKER_TOKEN + "x", "ü"))


def test_bucket_gives_its_rate_and_a_burst() -> None:
    buckets = Buckets(per_s=2.0)
    assert [buckets.take("a", 0.0) for _ in range(int(2 * BURST_S))] == [0.0] * 8
    assert buckets.take("a", 0.0) == 0.5
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) == 0.5
    assert [buckets.take("a", 1000.0) for _ in range(8)] == [0.0] * 8


async def test_token_that_asks_too_often_is_told_to_wait(closed: Closed) -> None:
    gate = closed.api.app.state.gate_rate
    gate.per_s = 0.5
    answers = [await closed.api.client.get("/runs", headers=closed.headers(Role.VIEWER)) for _ in range(4)]
    assert [response.status_code for response in answers] == [200, 200, 429, 429]
    assert answers[-1].json()["code"] == "too_many_requests"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
    assert (await closed.api.client.get("/runs", headers=closed.headers(Role.OPERATOR))).status_code == 200
    guesses = [await closed.api.client.get("/runs", headers=bearer("guess")) for _ in range(3)]
    assert [response.status_code for response in guesses] == [401, 401, 429]


@pytest.mark.parametrize("is_announced", [True, False])
async def test_long_body_is_not_read_to_its_end(closed: Closed, is_announced: bool) -> None:
    body = b'{"name": "' + b"x" * 5_000_000 + b'"}'

    async def parts():
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    headers = closed.headers(Role.ADMIN) | {"Content-Type": "application/json"}
    content = body if is_announced else parts()
    refused = await closed.api.client.post("/tokens", content=content, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


async def break_off() -> None:
    """A route with an error in it."""
    raise RuntimeError("nobody thought of this")


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/runs", 200), ("/nowhere", 404), ("/broken", 500)])
async def test_every_answer_carries_the_headers(closed: Closed, path: str, status: int) -> None:
    closed.api.app.add_api_route("/broken", break_off)
    answer = await closed.api.client.get(path, headers=closed.headers(Role.ADMIN))
    assert answer.status_code == status
    assert HEADERS.items() <= {name.title(): value for name, value in answer.headers.items()}.items()
    if status == 500:
        assert (answer.headers["content-type"], answer.json()["code"]) == ("application/problem+json", "internal_error")
        assert "nobody thought of this" not in answer.text


async def test_store_that_is_away_when_a_token_is_looked_up_is_answered_as_such(closed: Closed, tmp_path: Path) -> None:
    state = closed.api.app.state
    away = open_store(None, tmp_path / "elsewhere")
    state.authenticator = replace(state.authenticator, store=away)
    answer = await closed.api.client.get("/runs", headers=closed.headers(Role.ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["cache-control"] == "no-store"
    await away.engine.dispose()
