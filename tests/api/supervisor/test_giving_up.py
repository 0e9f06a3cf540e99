"""Errors that the loop does not know: tried again, then a fact of the run."""

import sqlite3
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from sqlalchemy.exc import DataError, OperationalError

from aft_api.supervisor import driver
from aft_api.supervisor.nodes import monitor
from tests.api.conftest import Api

pytestmark = pytest.mark.anyio
SECRET = "what a row of the data says"
REFUSAL = "unsupported Unicode escape sequence"
REFUSED_BELOW = psycopg.DataError(f"{REFUSAL}\nCONTEXT: {SECRET}")
REFUSED = DataError("INSERT …", {"body": SECRET}, REFUSED_BELOW)
AWAY = OperationalError("INSERT …", {}, psycopg.OperationalError("the connection is lost"))


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch):
    """Lets `monitor` raise what is given, one after the other, and then work."""
    judge = monitor.judge

    def breaks(errors: Iterator[Exception]) -> list[Exception]:
        raised: list[Exception] = []

        def judge_or_raise(*given, **more):
            error = next(errors, None)
            if error is None:
                return judge(*given, **more)
            raised.append(error)
            raise error

        monkeypatch.setattr(monitor, "judge", judge_or_raise)
        return raised

    return breaks


@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(KeyError("lost"), "KeyError: 'lost'", id="ours"),
        pytest.param(REFUSED, f"DataError: {REFUSAL}", id="the store refuses what it is given"),
        pytest.param(REFUSED_BELOW, f"DataError: {REFUSAL}", id="and says so to LangGraph's saver"),
        pytest.param(
            sqlite3.IntegrityError("NOT NULL constraint failed"),
            "IntegrityError: NOT NULL constraint failed",
            id="or SQLite does",
        ),
    ],
)
async def test_an_error_that_stays_ends_the_run_after_three_tries_and_says_so(api: Api, breaking, error, says) -> None:
    raised = breaking(error for _ in count())
    run_id = await api.start()
    run = await api.until(run_id, "failed")
    assert run["problem"]["code"] == "internal_error"
    assert says in run["problem"]["detail"]
    assert SECRET not in str(run["problem"])
    assert len(raised) == driver.MOST_TRIES
    [event] = await api.events(run_id, "run_failed")
    assert says in event["message"]
    windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
    assert [window["status"] for window in windows] == ["committed"], "what was trained is kept"


async def test_an_error_that_passes_costs_nothing(api: Api, breaking) -> None:
    raised = breaking(iter([KeyError("lost"), REFUSED]))
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    assert (run["step"], len(raised)) == (60, 2)
    assert api.worker.windows == [f"{run_id}:0:{index}" for index in range(6)]


async def test_a_store_that_is_away_ends_no_run_however_often(api: Api, breaking) -> None:
    raised = breaking(iter([AWAY] * (driver.MOST_TRIES + 2)))
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    assert (run["step"], len(raised)) == (60, driver.MOST_TRIES + 2)
    assert api.worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
