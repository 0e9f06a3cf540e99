"""Commands that list workers, drain them and give them runs again."""

from typing import Annotated

import typer
from rich.console import Console

from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.json_output import print_json
from aft_cli.reports import workers_table
from aft_contracts import WorkerView

WorkerArgument = Annotated[str, typer.Argument(help="The worker's name, as `aft workers` lists it.", metavar="WORKER")]

app = typer.Typer(cls=ErrorScreens, help="Workers: list, drain, resume.")


@app.callback(invoke_without_command=True)
def list_workers(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the workers that the API knows, or drain and resume one."""
    if ctx.invoked_subcommand is not None:
        return None
    with client_of(ctx) as client:
        found = client.workers()
    return print_json(found) if as_json else Console().print(workers_table(found))


@app.command()
def drain(ctx: typer.Context, worker_id: WorkerArgument) -> None:
    """Give a worker no more runs; those it has move after their window, where another reaches their files."""
    with client_of(ctx) as client:
        _say(client.drain_worker(worker_id))


@app.command()
def resume(ctx: typer.Context, worker_id: WorkerArgument) -> None:
    """Give a drained worker runs again."""
    with client_of(ctx) as client:
        _say(client.resume_worker(worker_id))


def _say(worker: WorkerView) -> None:
    typer.echo(f"{worker.worker_id}: {worker.state}, {len(worker.run_ids)} run(s)")
