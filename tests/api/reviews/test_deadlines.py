"""What becomes of a question that nobody answered in time; the time passes when a test moves the database's clock."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Double, literal

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.reviews.deadlines import Deadlines
from aft_api.reviews.errors import ReviewAlreadyDecided
from aft_api.reviews.repository import ask, get_review
from aft_api.runs.commands import list_commands
from aft_api.runs.events import list_events
from aft_api.runs.service import Caller, give_command
from aft_api.stop import Stop
from aft_contracts import Approve, CommandRecord, EventKind, Review, ReviewStatus
from tests.api.conftest import Api, placed_run, running_api, settings_for
from tests.api.reviews.examples import question
from tests.api.supervisor.test_loop import EARLY_POISON
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
ANN = Caller(user="ann", channel="cli")
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class StoppedStore(Store):
    """A store whose clock stands still."""

    moments: list[float] = field(default_factory=lambda: [1_800_000_000.0])

    @property
    def now_s(self) -> ColumnElement[float]:
        """The moment that the test says it is."""
        return literal(self.moments[-1], Double())

    @property
    def now(self) -> datetime:
        """The same, as a moment."""
        return datetime.fromtimestamp(self.moments[-1], UTC)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.moments.append(self.moments[-1] + seconds)


@pytest.fixture
def stopped(store: Store) -> StoppedStore:
    """The store with a clock that the test moves."""
    return StoppedStore(**{each.name: getattr(store, each.name) for each in fields(Store)})


def deadlines(store: Store, on_answer: Callable[[str], None] = lambda _: None) -> Deadlines:
    """One replica's task."""
    return Deadlines(store=store, clock=utc_now, stop=Stop(), on_answer=on_answer)


async def asked(store: StoppedStore, **policy: Any) -> Review:
    """A question of a run, asked now."""
    review = question(await placed_run(store), now=store.now, **policy)
    async with store.sessions.begin() as session:
        await ask(session, review)
    return review


async def read(store: Store, review: Review) -> Review:
    """The question as it is now."""
    async with store.reads() as session:
        return await get_review(session, review.review_id)


async def audit(store: Store, review: Review) -> list[CommandRecord]:
    """What its run was told."""
    async with store.reads() as session:
        return await list_commands(session, review.run_id)


async def test_nothing_happens_before_the_deadline(stopped: StoppedStore) -> None:
    review = await asked(stopped, deadline_s=60.0, on_deadline="apply")
    stopped.pass_s(59.0)
    assert await deadlines(stopped).see_to_due() == 0
    assert await read(stopped, review) == review


@pytest.mark.parametrize(("on_deadline", "answer"), [("apply", "approve"), ("go_on", "reject"), ("stop", "reject")])
async def test_the_named_option_is_taken_once_the_deadline_has_passed(
    stopped: StoppedStore, on_deadline: str, answer: str
) -> None:
    review = await asked(stopped, deadline_s=60.0, on_deadline=on_deadline)
    stopped.pass_s(60.0)
    heard: list[str] = []
    assert await deadlines(stopped, heard.append).see_to_due() == 1
    decided = await read(stopped, review)
    assert (decided.status, decided.decided_by, decided.decided_via) == (ReviewStatus.DECIDED, "deadline", "system")
    assert decided.decision is not None
    assert (decided.decision.option, decided.decision.answer) == (on_deadline, answer)
    assert [(told.given_by, told.channel, told.command) for told in await audit(stopped, review)] == [
        ("deadline", "system", review.option(on_deadline).command)  # type: ignore[union-attr]
    ]
    assert heard == [review.run_id]
    assert await deadlines(stopped).see_to_due() == 0


async def test_hold_says_so_once_and_can_still_be_answered(stopped: StoppedStore) -> None:
    review = await asked(stopped)
    stopped.pass_s(DAY_S + 1)
    assert await deadlines(stopped).see_to_due() == 1
    assert await deadlines(stopped).see_to_due() == 0
    assert await read(stopped, review) == review.model_copy(update={"is_overdue": True})
    async with stopped.reads() as session:
        events = await list_events(session, review.run_id, after_seq=0, limit=100)
    assert [event.kind for event in events].count(EventKind.REVIEW_OVERDUE) == 1
    await give_command(stopped, review.run_id, Approve(), command_id=None, caller=ANN, clock=utc_now)
    assert (await read(stopped, review)).decided_by == "ann"


async def test_answer_that_came_first_stays_the_answer(stopped: StoppedStore) -> None:
    review = await asked(stopped, deadline_s=60.0, on_deadline="go_on")
    await give_command(stopped, review.run_id, Approve(), command_id=None, caller=ANN, clock=utc_now)
    stopped.pass_s(61.0)
    assert await deadlines(stopped).see_to_due() == 0
    assert (await read(stopped, review)).decided_by == "ann"


async def test_deadline_does_not_ask_who_may_answer(stopped: StoppedStore) -> None:
    review = await asked(stopped, deadline_s=60.0, on_deadline="go_on", answered_by=["ann"])
    stopped.pass_s(61.0)
    await deadlines(stopped).see_to_due()
    assert (await read(stopped, review)).decided_by == "deadline"


async def test_replicas_and_a_human_at_once_give_one_answer(stopped: StoppedStore) -> None:
    for _ in range(5):
        review = await asked(stopped, deadline_s=60.0, on_deadline="go_on")
        stopped.pass_s(61.0)
        came_of_it = await asyncio.gather(
            *(deadlines(stopped).see_to_due() for _ in range(3)),
            give_command(stopped, review.run_id, Approve(), command_id="ann-1", caller=ANN, clock=utc_now),
            return_exceptions=True,
        )
        decided, told = await read(stopped, review), await audit(stopped, review)
        assert decided.decision is not None
        won_by_ann = decided.decided_by == "ann"
        assert won_by_ann or isinstance(came_of_it[-1], ReviewAlreadyDecided)
        assert [one for one in came_of_it[:-1] if isinstance(one, BaseException)] == []
        assert [one.given_by for one in told if one.problem is None] == ["ann" if won_by_ann else "deadline"]
        assert len(told) == 2 or (won_by_ann and len(told) == 1)


async def test_deadline_that_passes_while_no_process_runs_is_kept_by_the_next(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url)
    worker.poison = {EARLY_POISON}
    policy = {"deadline_s": 3.0, "on_deadline": "apply"}

    async def waiting(api: Api) -> str:
        run_id = await api.start(repair={"ask_before_rollback": True}, reviews=policy)
        await api.until(run_id, "waiting")
        return run_id

    async with running_api(settings, worker) as first:
        run_id = await waiting(first)
    async with running_api(settings, worker) as second:
        run = await second.until(run_id, "succeeded")
        [review] = (await second.client.get("/reviews")).json()["reviews"]
        [told] = (await second.client.get(f"/runs/{run_id}/commands")).json()["commands"]
    assert (review["decided_by"], review["decision"]["option"]) == ("deadline", "apply")
    assert [branch["step"] for branch in run["schedule"]["branches"]] == [10]
    assert (told["status"], told["applied_step"], told["channel"]) == ("applied", 20, "system")
