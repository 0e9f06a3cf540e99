"""What becomes of commands on the way in: once by key, refusals on record, one answer of several."""

import asyncio

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.errors import AftError
from aft_api.reviews.errors import MayNotAnswer, ReviewAlreadyDecided
from aft_api.reviews.repository import ask, get_review
from aft_api.runs.commands import list_commands, settle_left
from aft_api.runs.errors import IdempotencyConflict
from aft_api.runs.repository import move_run
from aft_api.runs.service import Caller, give_command
from aft_contracts import (
    Approve,
    Command,
    CommandRecord,
    CommandStatus,
    Edit,
    Pause,
    Reject,
    Repair,
    RepairKind,
    Resume,
    Rollback,
    RunStatus,
    SetGradClip,
    SetLearningRate,
    Stop,
)
from tests.api.conftest import placed_run
from tests.api.reviews.examples import question

pytestmark = pytest.mark.anyio
ANN = Caller(user="ann", channel="cli")
TOO_LATE = (CommandStatus.REFUSED, None, "run_finished")
BOB = Caller(user="bob", channel="api", roles=frozenset({"operator"}))


async def give(
    store: Store, run_id: str, command: Command, *, key: str | None = None, caller: Caller = ANN
) -> CommandRecord:
    """Give a command."""
    return await give_command(store, run_id, command, command_id=key, caller=caller, clock=utc_now)


async def asking(store: Store, **policy: object) -> tuple[str, str]:
    """A waiting run and the review that it waits for."""
    run_id = await placed_run(store)
    review = question(run_id, **policy)
    async with store.sessions.begin() as session:
        await move_run(session, run_id, RunStatus.RUNNING, utc_now)
        await move_run(session, run_id, RunStatus.WAITING, utc_now, review_id=review.review_id)
        await ask(session, review)
    return run_id, review.review_id


async def audit(store: Store, run_id: str) -> list[CommandRecord]:
    """What the run was told."""
    async with store.reads() as session:
        return await list_commands(session, run_id)


async def test_same_key_and_command_is_one_command(store: Store) -> None:
    run_id = await placed_run(store)
    first = await give(store, run_id, SetGradClip(max_norm=0.5), key="k")
    assert await give(store, run_id, SetGradClip(max_norm=0.5), key="k", caller=BOB) == first
    with pytest.raises(IdempotencyConflict):
        await give(store, run_id, SetGradClip(max_norm=0.6), key="k")
    assert await audit(store, run_id) == [first]


async def test_same_key_at_once_is_one_command(store: Store) -> None:
    run_id = await placed_run(store)
    records = await asyncio.gather(*(give(store, run_id, Pause(), key="k") for _ in range(8)))
    assert [record.command_id for record in await audit(store, run_id)] == ["k"]
    assert {record.seq for record in records} == {records[0].seq}


async def test_key_of_an_answer_is_for_that_answer(store: Store) -> None:
    run_id, review_id = await asking(store)
    first = await give(store, run_id, Approve(), key="k")
    assert first.command == Approve(review_id=review_id)
    assert await give(store, run_id, Approve(), key="k") == first
    with pytest.raises(IdempotencyConflict):
        await give(store, run_id, Approve(review_id="another"), key="k")


async def test_refusal_stays_on_record_and_is_told_again_for_its_key(store: Store) -> None:
    run_id = await placed_run(store)
    problems = []
    for _ in range(2):
        with pytest.raises(AftError) as refused:
            await give(store, run_id, Rollback(step=7), key="k")
        problems.append(refused.value.problem)
    assert problems[0] == problems[1]
    [told] = await audit(store, run_id)
    assert (told.status, told.problem, told.given_by, told.channel, told.command) == (
        CommandStatus.REFUSED, problems[0], "ann", "cli", Rollback(step=7),
    )  # fmt: skip
    assert told.settled_at is not None
    assert problems[0].code == "command_impossible"


async def test_second_answer_is_told_who_was_first_when_and_how(store: Store) -> None:
    run_id, review_id = await asking(store)
    await give(store, run_id, Reject(message="no"), caller=ANN)
    with pytest.raises(ReviewAlreadyDecided) as refused:
        await give(store, run_id, Approve(), caller=BOB)
    async with store.reads() as session:
        review = await get_review(session, review_id)
    assert review.decided_at is not None
    assert refused.value.problem.facts == {
        "review_id": review_id, "decided_by": "ann", "decided_via": "cli", "answer": "reject", "option": "go_on",
        "decided_at": review.decided_at.isoformat(),
    }  # fmt: skip
    assert [told.status for told in await audit(store, run_id)] == [CommandStatus.PENDING, CommandStatus.REFUSED]


async def test_answer_of_somebody_who_was_not_asked_is_refused(store: Store) -> None:
    run_id, review_id = await asking(store, answered_by=["ann", "role:admin"])
    for command in (Approve(), Resume(), Reject(review_id=review_id)):
        with pytest.raises(MayNotAnswer):
            await give(store, run_id, command, caller=BOB)
    admin = Caller(user="bob", channel="api", roles=frozenset({"admin"}))
    assert (await give(store, run_id, Approve(), caller=admin)).given_by == "bob"


async def test_edit_that_cannot_be_made_is_refused_while_the_sender_listens(store: Store) -> None:
    run_id, review_id = await asking(store)
    forward = Repair(kind=RepairKind.ROLLBACK, rollback_to_step=999, reasons=("Forward.",))
    for command in (Edit(repair=forward), Edit(repair=Repair(kind=RepairKind.ESCALATE, reasons=("Ask.",)))):
        with pytest.raises(AftError) as refused:
            await give(store, run_id, command)
        assert refused.value.problem.code == "command_impossible"
    async with store.reads() as session:
        assert (await get_review(session, review_id)).status == "open"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (RunStatus.QUEUED, "once the run has a worker"),
        (RunStatus.RUNNING, "at the next step boundary, at step 0"),
        (RunStatus.PAUSED, "once the run is resumed"),
        (RunStatus.WAITING, "once the open review is answered"),
    ],
)
async def test_acceptance_says_when_it_takes_effect(store: Store, status: RunStatus, words: str) -> None:
    run_id = await placed_run(store)
    async with store.sessions.begin() as session:
        await move_run(session, run_id, status, utc_now)
    record = await give(store, run_id, SetLearningRate(learning_rate=1e-4))
    assert record.outcome.startswith("accepted: ")
    assert words in record.outcome


@pytest.mark.parametrize(
    ("status", "stop", "pause"),
    [
        (RunStatus.STOPPED, (CommandStatus.APPLIED, 7, None), TOO_LATE),
        (RunStatus.SUCCEEDED, TOO_LATE, TOO_LATE),
    ],
)
async def test_run_that_ends_settles_what_it_had_no_time_for(
    store: Store, status: RunStatus, stop: tuple[object, ...], pause: tuple[object, ...]
) -> None:
    run_id = await placed_run(store)
    for command in (Stop(), Pause()):
        await give(store, run_id, command)
    async with store.sessions.begin() as session:
        await settle_left(session, run_id, status, step=7, clock=utc_now)
    came_of_it = [
        (told.status, told.applied_step, told.problem and told.problem.code) for told in await audit(store, run_id)
    ]
    assert came_of_it == [stop, pause]
