"""Commands: accepted here, carried out by the run's driver at the next step boundary."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.tables import CommandRow, RunRow
from aft_api.runs.errors import IdempotencyConflict
from aft_api.runs.events import record
from aft_contracts import Command, CommandRecord, CommandStatus, EventKind, RunStatus

COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
_PENDING = (
    select(CommandRow)
    .where(CommandRow.run_id == bindparam("run_id"), CommandRow.status == CommandStatus.PENDING)
    .order_by(CommandRow.seq)
)
_GOES_ON = select(
    exists().where(
        RunRow.run_id == bindparam("run_id"),
        RunRow.status == RunStatus.RUNNING,
        RunRow.lease_token == bindparam("token"),
        RunRow.worker_id == bindparam("worker_id"),
        ~exists().where(CommandRow.run_id == RunRow.run_id, CommandRow.status == CommandStatus.PENDING),
    )
)


async def find_command(session: AsyncSession, run_id: str, command_id: str, command: Command) -> CommandRecord | None:
    """The command that was accepted under this id, if any.

    Raises:
        IdempotencyConflict: it was another command.
    """
    row = await session.scalar(
        select(CommandRow).where(CommandRow.run_id == run_id, CommandRow.command_id == command_id)
    )
    if row is None:
        return None
    known = record_of(row)
    if _as_sent(known.command) != _as_sent(command):
        raise IdempotencyConflict(command_id)
    return known


async def add_command(
    session: AsyncSession, run_id: str, command_id: str, command: Command, *, by: str, channel: str, clock: Clock
) -> CommandRecord:
    """Accept a command; it waits for the run's driver."""
    row = CommandRow(
        command_id=command_id,
        run_id=run_id,
        body=command.model_dump(mode="json"),
        status=CommandStatus.PENDING,
        outcome="waits for the next step boundary",
        given_by=by,
        channel=channel,
        created_at=clock(),
    )
    session.add(row)
    await session.flush()
    return record_of(row)


async def list_commands(session: AsyncSession, run_id: str) -> list[CommandRecord]:
    """Everything the run was told, oldest first."""
    rows = await session.scalars(select(CommandRow).where(CommandRow.run_id == run_id).order_by(CommandRow.seq))
    return [record_of(row) for row in rows]


async def pending_commands(session: AsyncSession, run_id: str) -> list[CommandRecord]:
    """Commands that wait to be carried out, oldest first."""
    rows: Sequence[CommandRow] = (await session.scalars(_PENDING, {"run_id": run_id})).all()
    return [record_of(row) for row in rows]


async def goes_on(session: AsyncSession, run_id: str, token: int, *, worker_id: str | None) -> bool:
    """Whether a running run is still driven under this lease, on this worker, and was told nothing; locks nothing."""
    told = {"run_id": run_id, "token": token, "worker_id": worker_id}
    return bool(await session.scalar(_GOES_ON, told))


async def settle_command(
    session: AsyncSession, command: CommandRecord, status: CommandStatus, outcome: str, *, step: int, clock: Clock
) -> None:
    """Write what became of a command, and the event that says so."""
    await session.execute(
        update(CommandRow)
        .where(CommandRow.run_id == command.run_id, CommandRow.command_id == command.command_id)
        .values(status=status, outcome=outcome)
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


def record_of(row: CommandRow) -> CommandRecord:
    """The row as clients see it."""
    return CommandRecord(
        command_id=row.command_id,
        run_id=row.run_id,
        command=COMMAND.validate_python(row.body),
        status=CommandStatus(row.status),
        outcome=row.outcome,
        given_by=row.given_by,
        channel=row.channel,
        created_at=row.created_at,
    )


def _as_sent(command: Command) -> dict[str, object]:
    # A resume is stored with the review it answered, which the sender may have left open.
    return command.model_dump(mode="json", exclude={"review_id"})
