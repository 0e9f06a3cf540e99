"""What clients may do with runs: start one, look at it, tell it something."""

import secrets
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.tables import RunRow
from aft_api.healing.course import apply_command
from aft_api.reviews.errors import RepairNeeded, ReviewNotFound, UnexpectedRepair
from aft_api.reviews.repository import decide, get_review, list_reviews
from aft_api.runs.commands import add_command, find_command
from aft_api.runs.errors import IdempotencyConflict, NothingToResume, RunFinished
from aft_api.runs.events import record
from aft_api.runs.repository import find_run, get_run, wake_run
from aft_api.runs.schedules import latest_schedule
from aft_contracts import (
    FINISHED,
    Answer,
    Command,
    CommandRecord,
    Decision,
    EventKind,
    Pause,
    Resume,
    ReviewStatus,
    RunSpec,
    RunStatus,
    Stop,
)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, and through what: the audit trail's two questions."""

    user: str
    channel: str


async def start_run(store: Store, spec: RunSpec, *, idempotency_key: str | None, caller: Caller, clock: Clock) -> str:
    """Accept a run and ask for it to be driven; its id. The same key and spec give the same run.

    Raises:
        IdempotencyConflict: the key was used before, for another spec.
    """
    now = clock()
    async with store.sessions.begin() as session:
        if idempotency_key is not None:
            known = await find_run(session, idempotency_key)
            if known is not None:
                if RunSpec.model_validate(known.spec) != spec:
                    raise IdempotencyConflict(idempotency_key)
                return known.run_id
        run_id = f"run-{now:%m%d-%H%M}-{secrets.token_hex(3)}"
        session.add(
            RunRow(
                run_id=run_id,
                idempotency_key=idempotency_key,
                name=spec.name,
                status=RunStatus.QUEUED,
                spec=spec.model_dump(mode="json"),
                priority=spec.priority,
                created_at=now,
                updated_at=now,
            )
        )
        await session.flush()
        await record(
            session, run_id, EventKind.RUN_CREATED, f"Run {spec.name!r} was asked for by {caller.user}.",
            key="created", clock=clock, step=0,
        )  # fmt: skip
    return run_id


async def give_command(
    store: Store, run_id: str, command: Command, *, command_id: str | None, caller: Caller, clock: Clock
) -> CommandRecord:
    """Accept a command for a run, or answer its review; the run's driver carries it out at the next step boundary.

    Raises:
        RunNotFound, RunFinished: nobody can carry it out.
        NothingToResume, ReviewAlreadyDecided, RepairNeeded: a resume without something to resume.
        CommandImpossible: it contradicts what has been trained, or names what does not exist.
        IdempotencyConflict: the id was used before, for another command.
    """
    command_id = command_id or f"cmd-{secrets.token_hex(6)}"
    async with store.sessions.begin() as session:
        run = await get_run(session, run_id, for_update=True)
        known = await find_command(session, run_id, command_id, command)
        if known is not None:
            return known
        if isinstance(command, Resume):
            command = await _answer(session, run, command, caller, clock)
        if RunStatus(run.status) in FINISHED:
            raise RunFinished(run_id, run.status, command.kind)
        await _refuse_impossible(session, run, command)
        accepted = await add_command(
            session, run_id, command_id, command, by=caller.user, channel=caller.channel, clock=clock
        )
        await wake_run(session, run_id)
    return accepted


async def _answer(session: AsyncSession, run: RunRow, command: Resume, caller: Caller, clock: Clock) -> Resume:
    """Decide the review that a resume is about, and name it in the command; a plain resume comes back as it was."""
    review_id = command.review_id
    if review_id is None and run.status == RunStatus.WAITING:
        still_open = await list_reviews(session, status=ReviewStatus.OPEN, run_id=run.run_id)
        review_id = still_open[0].review_id if still_open else None
    if review_id is None:
        if run.status not in {RunStatus.PAUSED, *FINISHED}:
            raise NothingToResume(run.run_id, run.status)
        return command
    if command.answer is Answer.EDIT and command.repair is None:
        raise RepairNeeded
    if command.answer is not Answer.EDIT and command.repair is not None:
        raise UnexpectedRepair(command.answer)
    asked = await get_review(session, review_id)
    if asked.run_id != run.run_id:
        raise ReviewNotFound(review_id)
    if asked.status is ReviewStatus.WITHDRAWN:
        raise RunFinished(run.run_id, run.status, command.kind)
    decision = Decision(answer=command.answer, repair=command.repair, message=command.message)
    review = await decide(session, review_id, decision, by=caller.user, clock=clock)
    await record(
        session, run.run_id, EventKind.REVIEW_DECIDED,
        f"{caller.user} answered {command.answer} through {caller.channel}.",
        key=review.review_id, clock=clock, step=run.step, review_id=review.review_id, answer=command.answer,
    )  # fmt: skip
    return command.model_copy(update={"review_id": review.review_id})


async def _refuse_impossible(session: AsyncSession, run: RunRow, command: Command) -> None:
    """Find out now, while the sender listens, whether the command can be carried out."""
    if isinstance(command, Resume | Pause | Stop):
        return
    schedule = await latest_schedule(session, run.run_id)
    apply_command(schedule, command, step=run.step, cause="trial", spec=RunSpec.model_validate(run.spec))
