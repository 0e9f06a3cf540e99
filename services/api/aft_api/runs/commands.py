"""Commands: accepted here, carried out by the run's driver at the next step boundary."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.once import insert_once
from aft_api.db.tables import CommandRow, RunRow
from aft_api.runs.errors import IdempotencyConflict, RefusedBefore, RunFinished
from aft_api.runs.events import record
from aft_contracts import Command, CommandRecord, CommandStatus, EventKind, Problem, RunStatus, Stop

COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
_PENDING = (
    select(CommandRow)
    .where(CommandRow.run_id == bindparam("run_id"), CommandRow.status == CommandStatus.PENDING)
    .order_by(CommandRow.seq)
)
IS_TOLD = exists().where(CommandRow.run_id == bindparam("of_run"), CommandRow.status == CommandStatus.PENDING)
"""Whether the run `of_run` has commands that wait to be carried out; for statements that ask for more."""
_GOES_ON = select(
    exists().where(
        RunRow.run_id == bindparam("of_run"),
        RunRow.status == RunStatus.RUNNING,
        RunRow.lease_token == bindparam("token"),
        RunRow.worker_id == bindparam("worker_id"),
        ~IS_TOLD,
    )
)


async def find_command(session: AsyncSession, run_id: str, command_id: str, command: Command) -> CommandRecord | None:
    """The command that was accepted under this id, if any.

    Raises:
        IdempotencyConflict: it was another command.
        RefusedBefore: it was this one, and was refused.
    """
    row = await session.scalar(
        select(CommandRow).where(CommandRow.run_id == run_id, CommandRow.command_id == command_id)
    )
    if row is None:
        return None
    if COMMAND.validate_python(row.body) != command:
        raise IdempotencyConflict(command_id)
    known = record_of(row)
    if known.problem is not None:
        raise RefusedBefore(known.problem)
    return known


@dataclass(frozen=True, kw_only=True)
class Given:
    """A command as it was given: by whom, through what, and under which id."""

    command_id: str
    run_id: str
    command: Command
    by: str
    channel: str


async def add_command(
    session: AsyncSession, given: Given, *, outcome: str, review_id: str | None = None, clock: Clock
) -> CommandRecord:
    """Accept a command, which answers that review if one is named; it waits for the run's driver."""
    row = CommandRow(
        command_id=given.command_id,
        run_id=given.run_id,
        body=given.command.model_dump(mode="json"),
        review_id=review_id,
        status=CommandStatus.PENDING,
        outcome=outcome,
        given_by=given.by,
        channel=given.channel,
        created_at=clock(),
    )
    session.add(row)
    await session.flush()
    return record_of(row)


async def add_refusal(session: AsyncSession, given: Given, problem: Problem, clock: Clock) -> None:
    """Keep on record that a command was refused; nothing, if its id has been used meanwhile."""
    now = clock()
    await insert_once(
        session,
        CommandRow,
        command_id=given.command_id,
        run_id=given.run_id,
        body=given.command.model_dump(mode="json"),
        status=CommandStatus.REFUSED,
        outcome=problem.detail,
        problem=problem.model_dump(mode="json"),
        given_by=given.by,
        channel=given.channel,
        created_at=now,
        settled_at=now,
    )


async def list_commands(
    session: AsyncSession, run_id: str, *, after_seq: int = 0, limit: int | None = None
) -> list[CommandRecord]:
    """What the run was told behind `after_seq`, refused commands among it, oldest first."""
    rows = await session.scalars(
        select(CommandRow)
        .where(CommandRow.run_id == run_id, CommandRow.seq > after_seq)
        .order_by(CommandRow.seq)
        .limit(limit)
    )
    return [record_of(row) for row in rows]


async def pending_commands(session: AsyncSession, run_id: str) -> list[CommandRecord]:
    """Commands that wait to be carried out, oldest first."""
    rows: Sequence[CommandRow] = (await session.scalars(_PENDING, {"run_id": run_id})).all()
    return [record_of(row) for row in rows]


async def all_pending(session: AsyncSession) -> set[tuple[str, str]]:
    """(run id, command id) of every command that waits to be carried out."""
    rows = await session.execute(
        select(CommandRow.run_id, CommandRow.command_id).where(CommandRow.status == CommandStatus.PENDING)
    )
    return {(row.run_id, row.command_id) for row in rows}


async def goes_on(session: AsyncSession, run_id: str, token: int, *, worker_id: str | None) -> bool:
    """Whether a running run is still driven under this lease, on this worker, and was told nothing; locks nothing."""
    told = {"of_run": run_id, "token": token, "worker_id": worker_id}
    return bool(await session.scalar(_GOES_ON, told))


async def settle_command(
    session: AsyncSession,
    command: CommandRecord,
    outcome: str,
    *,
    step: int,
    clock: Clock,
    problem: Problem | None = None,
) -> None:
    """Write that a command was carried out at `step`, or by which `problem` it was not, and the event of it."""
    status = CommandStatus.APPLIED if problem is None else CommandStatus.REFUSED
    await session.execute(
        update(CommandRow)
        .where(CommandRow.run_id == command.run_id, CommandRow.command_id == command.command_id)
        .values(
            status=status,
            outcome=outcome,
            applied_step=step if problem is None else None,
            problem=None if problem is None else problem.model_dump(mode="json"),
            settled_at=clock(),
        )
    )
    kind = EventKind.COMMAND_APPLIED if status is CommandStatus.APPLIED else EventKind.COMMAND_REFUSED
    await record(
        session,
        command.run_id,
        kind,
        f"{command.command.kind} by {command.given_by} through {command.channel}: {outcome}",
        key=command.command_id,
        clock=clock,
        step=step,
        command_id=command.command_id,
        command=command.command.model_dump(mode="json"),
    )


async def settle_left(session: AsyncSession, run_id: str, status: RunStatus, *, step: int, clock: Clock) -> None:
    """Settle what a run that has ended was told and had no time for: a stop that stopped it, and what came too late."""
    for told in await pending_commands(session, run_id):
        if status is RunStatus.STOPPED and isinstance(told.command, Stop):
            await settle_command(session, told, f"stopped at step {step}", step=step, clock=clock)
        else:
            late = RunFinished(run_id, status, told.command.kind)
            await settle_command(session, told, str(late), step=step, clock=clock, problem=late.problem)


def record_of(row: CommandRow) -> CommandRecord:
    """The row as clients see it: an answer names its review, whether its sender did or not."""
    command = COMMAND.validate_python(row.body)
    return CommandRecord(
        seq=row.seq,
        command_id=row.command_id,
        run_id=row.run_id,
        command=command if row.review_id is None else command.model_copy(update={"review_id": row.review_id}),
        status=CommandStatus(row.status),
        outcome=row.outcome,
        applied_step=row.applied_step,
        problem=None if row.problem is None else Problem.model_validate(row.problem),
        given_by=row.given_by,
        channel=row.channel,
        created_at=row.created_at,
        settled_at=row.settled_at,
    )
