"""Commands that list a run's checkpoints and verify them, through the API or in a folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.errors import local_problem
from aft_cli.json_output import print_json
from aft_cli.reports import checkpoints_table
from aft_cli.run_commands import JsonFlag, RunArgument
from aft_cli.service_commands import require
from aft_contracts import CheckpointView

DAMAGED_EXIT = 1

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="Checkpoints on the worker's disk.")


@app.command("list")
def list_checkpoints(ctx: typer.Context, run_id: RunArgument, as_json: JsonFlag = False) -> None:
    """List a run's checkpoints."""
    with client_of(ctx) as client:
        _show(client.checkpoints(run_id), as_json)


@app.command()
def verify(
    ctx: typer.Context,
    run_id: Annotated[str | None, typer.Argument(help="The run's id.", metavar="RUN")] = None,
    path: Annotated[
        Path | None, typer.Option(help="A run's folder under the worker's root, instead of RUN; needs no service.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare every file of a run's checkpoints with what was committed; exit with 1 if one is damaged."""
    if (run_id is None) == (path is None):
        raise local_problem(
            "run_or_path", "One of RUN and --path is needed", "Name a run, or the folder of one with --path DIR."
        )
    if path is not None:
        found = _verified_in(path)
    else:
        assert run_id is not None
        with client_of(ctx) as client:
            found = client.checkpoints(run_id, verify=True)
    _show(found, as_json)
    if any(checkpoint.damage for checkpoint in found):
        raise typer.Exit(DAMAGED_EXIT)


def _verified_in(run_folder: Path) -> tuple[CheckpointView, ...]:
    require("aft_worker", "worker")
    # Imported here: the CLI also works where the worker is not installed.
    from aft_worker.checkpoint.inspection import look_at

    folder = run_folder / "checkpoints"
    if not folder.is_dir():
        raise local_problem(
            "no_checkpoints",
            "There are no checkpoints here",
            f"{folder} does not exist. Give the folder of one run, as in .aft/worker/RUN.",
        )
    return look_at(folder, verify=True)


def _show(checkpoints: tuple[CheckpointView, ...], as_json: bool) -> None:
    if as_json:
        return print_json(checkpoints)
    if not checkpoints:
        typer.echo("No checkpoint so far.")
        return None
    return Console().print(checkpoints_table(checkpoints, datetime.now(UTC)))
