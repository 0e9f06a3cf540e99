"""What a client reads when the store fails beneath a request."""

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError, OperationalError

from aft_api.problems import install_problem_handlers

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError("SELECT 1", {}, OSError("gone")), 503, "store_unavailable"),
        (psycopg.OperationalError("gone"), 503, "store_unavailable"),
        (IntegrityError("INSERT", {}, OSError("twice")), 409, "store_conflict"),
    ],
)
async def test_a_store_that_fails_and_one_that_refuses_are_told_apart(error: Exception, status: int, code: str) -> None:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "nothing was changed" in answer.json()["detail"]
    assert "gone" not in answer.text
