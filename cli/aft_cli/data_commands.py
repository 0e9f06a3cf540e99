"""Commands about training data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aft_cli.config_file import read_spec
from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.json_output import print_json
from aft_cli.preview_view import preview_lines
from aft_cli.run_commands import JsonFlag
from aft_contracts import PreviewRequest

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="Look at training data.")


@app.callback()
def data() -> None:
    """Look at training data."""


@app.command()
def preview(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="The run's YAML or JSON file.")],
    rows: Annotated[int, typer.Option(min=1, max=50, help="Rows shown of each domain.")] = 3,
    look_at: Annotated[int, typer.Option(min=1, max=100_000, help="Rows read of each domain, for bad ones.")] = 1000,
    as_json: JsonFlag = False,
) -> None:
    """Show rows as the model will see them, with the tokens that carry loss, and the rows it cannot train on."""
    request = PreviewRequest(spec=read_spec(config), rows=rows, look_at=look_at)
    with client_of(ctx) as client:
        shown = client.preview(request)
    if as_json:
        return print_json(shown)
    console = Console(highlight=False)
    for line in preview_lines(shown, is_coloured=console.is_terminal and not console.no_color):
        console.print(line, soft_wrap=True)
    return None
