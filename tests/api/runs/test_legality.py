"""The table of legal commands, cell by cell, as it stands and as the API keeps to it."""

from typing import get_args

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.errors import AftError
from aft_api.reviews.repository import ask
from aft_api.runs.legality import RULINGS, status_after
from aft_api.runs.repository import note_run
from aft_api.runs.schedules import add_schedule
from aft_api.runs.service import Caller, give_command
from aft_contracts import (
    Approve,
    BlacklistSamples,
    Command,
    Edit,
    Pause,
    Reject,
    Repair,
    RepairKind,
    Respond,
    Resume,
    Rollback,
    RunStatus,
    Schedule,
    SetGradClip,
    SetLearningRate,
    SetMix,
    SkipBatch,
    Stop,
    UnblacklistSamples,
)
from tests.api.conftest import placed_run
from tests.api.reviews.examples import question

COMMANDS: list[Command] = [
    Approve(),
    Edit(repair=Repair(kind=RepairKind.ADJUST, lr_factor=0.5, reasons=("Gently.",))),
    Reject(),
    Respond(message="hm"),
    Resume(),
    Pause(),
    Stop(),
    SetLearningRate(learning_rate=1e-4),
    SetGradClip(max_norm=0.5),
    SkipBatch(step=50),
    BlacklistSamples(sample_ids=("s1",)),
    UnblacklistSamples(sample_ids=("s1",)),
    SetMix(weights={"chat": 2.0}),
    Rollback(step=0),
]
OK, LATE = "accepted", "run_finished"
UNFINISHED = {RunStatus.QUEUED: OK, RunStatus.RUNNING: OK, RunStatus.PAUSED: OK, RunStatus.WAITING: OK}
TOO_LATE = {RunStatus.SUCCEEDED: LATE, RunStatus.FAILED: LATE, RunStatus.STOPPED: LATE}
EXPECTED: dict[str, dict[RunStatus, str]] = {command.kind: {**UNFINISHED, **TOO_LATE} for command in COMMANDS}
EXPECTED["resume"] |= {RunStatus.QUEUED: "nothing_to_resume", RunStatus.RUNNING: "nothing_to_resume"}
EXPECTED["pause"] |= {RunStatus.PAUSED: "already_paused"}
BANNED = Schedule().with_blacklisted(["s1"], step=0, cause="earlier")
CALLER = Caller(user="ann", channel="cli")


def test_table_has_a_ruling_for_every_command_in_every_status() -> None:
    kinds = {get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(get_args(Command)[0])}
    assert {kind: set(row) for kind, row in RULINGS.items()} == {kind: set(RunStatus) for kind in kinds}


@pytest.mark.anyio
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.kind)
async def test_every_cell_is_kept_to(store: Store, command: Command) -> None:
    came_of_it = {}
    for status in RunStatus:
        run_id = await placed_run(store)
        async with store.sessions.begin() as session:
            await note_run(session, run_id, status=status)
            await add_schedule(session, run_id, BANNED, cause="earlier", clock=utc_now)
            if status not in TOO_LATE:
                await ask(session, question(run_id))
        came_of_it[status] = await outcome(store, run_id, command)
    assert came_of_it == EXPECTED[command.kind]


@pytest.mark.parametrize(
    ("status", "accepted", "then"),
    [
        (RunStatus.RUNNING, [], RunStatus.RUNNING),
        (RunStatus.RUNNING, [Pause()], RunStatus.PAUSED),
        (RunStatus.WAITING, [Pause(), Resume()], RunStatus.RUNNING),
        (RunStatus.PAUSED, [Resume(), Pause()], RunStatus.PAUSED),
        (RunStatus.PAUSED, [Resume(review_id="v"), SetGradClip(max_norm=1.0)], RunStatus.PAUSED),
    ],
)
def test_accepted_pauses_and_resumes_count_as_carried_out(
    status: RunStatus, accepted: list[Command], then: RunStatus
) -> None:
    assert status_after(status, accepted) is then


async def outcome(store: Store, run_id: str, command: Command) -> str:
    """`accepted`, or the code of the refusal."""
    try:
        record = await give_command(store, run_id, command, command_id=None, caller=CALLER, clock=utc_now)
    except AftError as refusal:
        return refusal.problem.code
    return record.outcome.split(":")[0].split()[0]
