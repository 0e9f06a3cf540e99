"""Commands about training data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aft_cli.config_file import read_spec
from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.errors import local_problem
from aft_cli.json_output import print_json
from aft_cli.preview_view import preview_lines
from aft_cli.run_commands import JsonFlag, RunArgument
from aft_cli.samples_view import samples_view
from aft_contracts import PreviewRequest, ReportFormat, SampleOrder

EVERY_SAMPLE = 10_000_000
WIDEST_LINE = 1000

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


@app.command()
def report(
    ctx: typer.Context,
    run_id: RunArgument,
    order: Annotated[SampleOrder, typer.Option("--order", help="What samples are ranked by.")] = SampleOrder.SUSPICION,
    domain: Annotated[str | None, typer.Option("--domain", help="Only samples of this domain.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=EVERY_SAMPLE, help="Most samples shown.")] = 20,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every sample to this file as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write every sample as Parquet.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the data map to this file as PNG.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the samples a run has seen, most suspicious first: how they were learned, and who is their double."""
    with client_of(ctx) as client:
        shown = client.samples(run_id, order=order, domain=domain, limit=limit)
        for path, form in ((csv, ReportFormat.CSV), (parquet, ReportFormat.PARQUET), (picture, ReportFormat.PNG)):
            if path is not None:
                _write(path, client.samples_file(run_id, form, order=order, domain=domain, limit=EVERY_SAMPLE))
    # The terminal folds long lines; a table that is squeezed into them would lose whole columns.
    return print_json(shown) if as_json else Console(width=WIDEST_LINE).print(samples_view(shown))


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise local_problem(
            "file_not_written", "The file cannot be written", f"{path}: {error.strerror}. Name another one."
        ) from error
    typer.echo(f"{path} written", err=True)
