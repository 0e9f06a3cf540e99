"""What clients may do with runs: start one, look at it, tell it something."""

import secrets
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.tables import RunRow
from aft_api.errors import AftError
from aft_api.healing.course import apply_command, apply_repair
from aft_api.notify.outbox import announce
from aft_api.reviews.answer import Answering, decision_on, may_answer
from aft_api.reviews.errors import MayNotAnswer, NoOpenReview, ReviewAlreadyDecided, ReviewNotFound
from aft_api.reviews.repository import asked_last, decide, get_review
from aft_api.runs.commands import Given, add_command, add_refusal, find_command, pending_commands
from aft_api.runs.errors import (
    AlreadyPaused,
    IdempotencyConflict,
    NothingToResume,
    RefusedBefore,
    RunFinished,
    RunNotFound,
)
from aft_api.runs.events import record
from aft_api.runs.legality import RULINGS, Ruling, status_after
from aft_api.runs.outlook import Progress, outlook
from aft_api.runs.repository import find_run, get_run, wake_run
from aft_api.runs.schedules import latest_schedule
from aft_api.runs.windows import is_training, running_steps
from aft_contracts import (
    FINISHED,
    Approve,
    Command,
    CommandRecord,
    Edit,
    EventKind,
    Pause,
    Reject,
    Respond,
    Resume,
    Review,
    ReviewStatus,
    RunSpec,
    RunStatus,
    Stop,
)

SYSTEM = "system"
"""The channel of what aft does by itself, by the run's own policy."""
START_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, and through what: the audit trail's two questions."""

    user: str
    channel: str
    roles: frozenset[str] = frozenset()
    """Names of the roles that the caller has."""


async def start_run(store: Store, spec: RunSpec, *, idempotency_key: str | None, caller: Caller, clock: Clock) -> str:
    """Accept a run and ask for it to be driven; its id. The same key and spec give the same run.

    Raises:
        IdempotencyConflict: the key was used before, for another spec.
    """
    for _ in range(START_ATTEMPTS - 1):
        with suppress(IntegrityError):  # A request with the same key came in between, or the id is taken: look again.
            return await _start_run(store, spec, idempotency_key, caller, clock)
    return await _start_run(store, spec, idempotency_key, caller, clock)


async def _start_run(store: Store, spec: RunSpec, idempotency_key: str | None, caller: Caller, clock: Clock) -> str:
    now = clock()
    async with store.sessions.begin() as session:
        if idempotency_key is not None:
            known = await find_run(session, idempotency_key)
            if known is not None:
                if RunSpec.model_validate(known.spec) != spec:
                    raise IdempotencyConflict(idempotency_key)
                return known.run_id
        run_id = f"run-{now:%m%d-%H%M}-{secrets.token_hex(4)}"
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

    What is refused stays on record as well, and is refused again when it comes again under the same id.

    Raises:
        RunNotFound, RunFinished, AlreadyPaused, NothingToResume: the run does not take it, or not now.
        ReviewNotFound, ReviewAlreadyDecided, NoOpenReview, MayNotAnswer, RepairNeeded, UnexpectedRepair: an answer
            that is none.
        CommandImpossible: it contradicts what has been trained, or names what does not exist.
        IdempotencyConflict: the id was used before, for another command.
    """
    given = Given(
        command_id=command_id or f"cmd-{secrets.token_hex(6)}",
        run_id=run_id,
        command=command,
        by=caller.user,
        channel=caller.channel,
    )
    try:
        async with store.sessions.begin() as session:
            return await _accept(session, given, caller, clock)
    except (RunNotFound, IdempotencyConflict, RefusedBefore):
        raise
    except AftError as refusal:
        async with store.sessions.begin() as session:
            await add_refusal(session, given, refusal.problem, clock)
        raise


async def _accept(session: AsyncSession, given: Given, caller: Caller, clock: Clock) -> CommandRecord:
    run = await get_run(session, given.run_id, for_update=True)
    known = await find_command(session, given.run_id, given.command_id, given.command)
    if known is not None:
        return known
    status = status_after(
        RunStatus(run.status), (told.command for told in await pending_commands(session, given.run_id))
    )
    review = await _reviewed(session, run, given.command, status)
    _refuse_illegal(run, given.command, status, is_answer=review is not None)
    await _refuse_impossible(session, run, given.command)
    if review is not None:
        await _decide(session, review, given, caller, step=run.step, clock=clock)
    running = await running_steps(session, run.run_id)
    progress = Progress(
        status=status,
        step=running[-1].step + 1 if running else run.step,
        in_window=await is_training(session, run.run_id),
    )
    review_id = None if review is None else review.review_id
    command = given.command if review_id is None else given.command.model_copy(update={"review_id": review_id})
    accepted = await add_command(session, given, outcome=outlook(command, progress), review_id=review_id, clock=clock)
    await wake_run(session, given.run_id)
    return accepted


def _refuse_illegal(run: RunRow, command: Command, status: RunStatus, *, is_answer: bool) -> None:
    """Look the command up in the table of what is legal."""
    kind = "approve" if is_answer and isinstance(command, Resume) else command.kind
    match RULINGS[kind][status]:
        case Ruling.TOO_LATE:
            raise RunFinished(run.run_id, run.status, command.kind)
        case Ruling.NOTHING_TO_RESUME:
            raise NothingToResume(run.run_id, run.status)
        case Ruling.ALREADY_PAUSED:
            raise AlreadyPaused(run.run_id)


async def _reviewed(session: AsyncSession, run: RunRow, command: Command, status: RunStatus) -> Review | None:
    """The review that the command answers, whatever has become of it; None for a command that answers none."""
    if not isinstance(command, Answering):
        return None
    review_id = command.review_id
    if review_id is None:
        if isinstance(command, Stop) or (isinstance(command, Resume) and status is not RunStatus.WAITING):
            return None
        review_id = await asked_last(session, run.run_id)
    if review_id is None:
        if status in FINISHED:
            return None
        raise NothingToResume(run.run_id, run.status) if isinstance(command, Resume) else NoOpenReview(run.run_id)
    review = await get_review(session, review_id)
    if review.run_id != run.run_id:
        raise ReviewNotFound(review_id)
    if review.status is ReviewStatus.DECIDED:
        raise ReviewAlreadyDecided(review)
    return review


async def _decide(
    session: AsyncSession, review: Review, given: Given, caller: Caller, *, step: int, clock: Clock
) -> None:
    assert isinstance(given.command, Answering), "only an answer names a review"
    if caller.channel != SYSTEM and not may_answer(review, caller.user, caller.roles):
        raise MayNotAnswer(review, caller.user)
    decision = decision_on(review, given.command)
    decided = await decide(session, review.review_id, decision, by=caller.user, via=caller.channel, clock=clock)
    text = f"{caller.user} answered {decision.option or decision.answer} through {caller.channel}."
    await record(
        session, review.run_id, EventKind.REVIEW_DECIDED, text,
        key=review.review_id, clock=clock, step=step, review_id=review.review_id, answer=decision.answer,
        option=decision.option, decided_by=caller.user, decided_via=caller.channel,
    )  # fmt: skip
    await announce(
        session, review.run_id, EventKind.REVIEW_DECIDED, text, key=review.review_id, clock=clock, review=decided
    )


async def _refuse_impossible(session: AsyncSession, run: RunRow, command: Command) -> None:
    """Find out now, while the sender listens, whether the command can be carried out."""
    if isinstance(command, Pause | Stop | Approve | Reject | Respond):
        return
    schedule, spec = await latest_schedule(session, run.run_id), RunSpec.model_validate(run.spec)
    if not isinstance(command, Resume | Edit):
        apply_command(schedule, command, step=run.step, cause="trial", spec=spec)
    elif command.repair is not None:
        apply_repair(schedule, command.repair, step=run.step, cause="trial", spec=spec.optim)
