"""The command line `aft`: a client of the API, and a launcher of the services."""

from typing import Annotated

import typer

from aft_cli import (
    blacklist_commands,
    checkpoint_commands,
    command_commands,
    data_commands,
    notification_commands,
    review_commands,
    run_commands,
    service_commands,
    token_commands,
    worker_commands,
)
from aft_cli.connection import DEFAULT_API_URL
from aft_cli.error_screens import ErrorScreens

app = typer.Typer(
    cls=ErrorScreens,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fine-tune language models, and have the run looked after.",
)


@app.callback()
def connect(
    ctx: typer.Context,
    api: Annotated[str, typer.Option("--api", envvar="AFT_API_URL", help="The API's base URL.")] = DEFAULT_API_URL,
) -> None:
    """Fine-tune language models, and have the run looked after."""
    ctx.obj = api


for _command in (
    service_commands.up,
    run_commands.run,
    run_commands.status,
    run_commands.watch,
    run_commands.resume,
    run_commands.interrupt,
    run_commands.stop,
    run_commands.events,
    run_commands.diagnose,
):
    app.command()(_command)
app.add_typer(command_commands.app, name="command")
app.add_typer(review_commands.app, name="review")
app.add_typer(notification_commands.app, name="notifications")
app.add_typer(blacklist_commands.app, name="blacklist")
app.add_typer(data_commands.app, name="data")
app.add_typer(checkpoint_commands.app, name="checkpoints")
app.command()(service_commands.serve)
app.command()(service_commands.worker)
app.add_typer(worker_commands.app, name="workers")
app.add_typer(token_commands.app, name="token")
app.add_typer(service_commands.db, name="db")
