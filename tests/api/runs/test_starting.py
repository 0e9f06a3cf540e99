"""What one `POST /runs` does beside others: a key starts one run, and no two runs share an id."""

import asyncio
import secrets

import pytest

from tests.api.conftest import Api, spec_json

pytestmark = pytest.mark.anyio


async def test_same_idempotency_key_starts_one_run(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.client.post("/runs", json=spec_json(), headers=headers)
    again = await api.client.post("/runs", json=spec_json(), headers=headers)
    other = await api.client.post("/runs", json=spec_json(name="other"), headers=headers)
    assert first.json()["run_id"] == again.json()["run_id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_one_key_given_by_many_at_once_starts_one_run(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    asked = [api.client.post("/runs", json=spec_json(), headers=headers) for _ in range(8)]
    answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.json()["run_id"] for answer in answers}) == 1


async def test_an_id_that_is_taken_is_not_given_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["taken", "taken", "free"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    first, second = await api.start(), await api.start()
    assert (first.rsplit("-", 1)[1], second.rsplit("-", 1)[1]) == ("taken", "free")
