"""Commands that show the outbox, and try again what was given up."""

from typing import Annotated

import typer
from rich.console import Console

from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.json_output import print_json
from aft_cli.reports import notifications_table, targets_table
from aft_cli.run_commands import JsonFlag
from aft_contracts import NotificationState

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="Messages to people and webhooks: list, replay.")


@app.command("list")
def list_notifications(
    ctx: typer.Context,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were given up.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only those that wait.")] = False,
    run_id: Annotated[str | None, typer.Option("--run", help="Only those of this run.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List messages, newest first, and how many wait."""
    if failed and pending:
        raise typer.BadParameter("give --failed or --pending, not both")
    state = NotificationState.FAILED if failed else NotificationState.PENDING if pending else None
    with client_of(ctx) as client:
        found = client.notifications(state=state, run_id=run_id, limit=limit)
    if as_json:
        return print_json(found)
    Console().print(notifications_table(found.notifications))
    backlog = found.backlog
    age = "" if backlog.oldest_pending_s is None else f", the oldest for {backlog.oldest_pending_s:.0f} s"
    return typer.echo(f"{backlog.pending} wait{age}; {backlog.failed} were given up, {backlog.sent} arrived.")


@app.command()
def replay(
    ctx: typer.Context,
    seq: Annotated[int | None, typer.Argument(help="The message's number, as the list has it.", metavar="NO")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that were given up.")] = False,
) -> None:
    """Try a message again under the same id, or all that were given up."""
    if (seq is None) is not failed:
        raise typer.BadParameter("give the number of one message, or --failed")
    with client_of(ctx) as client:
        if seq is None:
            typer.echo(f"{client.replay_failed_notifications()} message(s) are tried again")
        else:
            again = client.replay_notification(seq)
            typer.echo(f"{again.seq}: {again.state}, to {again.channel} {again.target}")


@app.command()
def targets(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List targets that are disabled, or have asked for a pause."""
    with client_of(ctx) as client:
        found = client.notification_targets()
    return print_json(found) if as_json else Console().print(targets_table(found))


@app.command()
def enable(
    ctx: typer.Context,
    target_id: Annotated[str, typer.Argument(help="The target's id, as `targets` lists it.", metavar="TARGET")],
) -> None:
    """Send to a target again that was disabled or paused."""
    with client_of(ctx) as client:
        client.enable_target(target_id)
    typer.echo(f"{target_id}: enabled; what was given up meanwhile: aft notifications replay --failed")
