"""Commands that list a run's banned samples and lift bans."""

from typing import Annotated

import typer
from rich.console import Console

from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.errors import local_problem
from aft_cli.json_output import print_json
from aft_cli.reports import blacklist_table
from aft_cli.run_commands import JsonFlag, RunArgument, report
from aft_contracts import UnblacklistSamples

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="Samples that a run does not load.")


@app.command("list")
def list_blacklist(
    ctx: typer.Context,
    run_id: RunArgument,
    lifted: Annotated[bool, typer.Option("--lifted", help="Bans that were lifted too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the banned samples, each with the diagnosis that convicted it."""
    with client_of(ctx) as client:
        entries = [entry for entry in client.blacklist(run_id) if lifted or entry.until_step is None]
    if as_json:
        return print_json(entries)
    if not entries:
        typer.echo("No sample is blacklisted.")
        return None
    return Console().print(blacklist_table(entries))


@app.command()
def remove(
    ctx: typer.Context,
    run_id: RunArgument,
    sample_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of the samples; see `aft blacklist list`.", metavar="[SAMPLE_ID]...")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Lift every ban instead.")] = False,
) -> None:
    """Load samples again from the next step on; no other sample moves."""
    if bool(sample_ids) == everything:
        raise local_problem(
            "samples_or_all", "Which samples?", "Name samples, or lift every ban with --all; one of the two."
        )
    with client_of(ctx) as client:
        if everything:
            sample_ids = [entry.sample_id for entry in client.blacklist(run_id) if entry.until_step is None]
        if not sample_ids:
            typer.echo("No sample is blacklisted.")
            return
        report(client.send(run_id, UnblacklistSamples(sample_ids=tuple(sample_ids))))
