"""Commands that start, show and steer runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aft_cli.config_file import read_spec
from aft_cli.connection import client_of
from aft_cli.errors import local_problem
from aft_cli.json_output import print_json
from aft_cli.live_view import event_line, show
from aft_cli.reports import diagnosis_panel, run_panel, runs_table
from aft_cli.run_watch import follow
from aft_contracts import Answer, CommandRecord, Event, Pause, Resume, RunStatus, Stop

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunArgument = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN")]

FOLLOW_WAIT_S = 20.0


def run(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="YAML or JSON file; docs/CONFIG.md lists its fields.")],
    watch_it: Annotated[bool, typer.Option("--watch", help="Watch the run until it ends.")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key twice is one run.")] = None,
) -> None:
    """Start a run."""
    spec = read_spec(config)
    with client_of(ctx) as client:
        run_id = client.create_run(spec, idempotency_key=key).run_id
    typer.echo(run_id)
    if watch_it:
        watch(ctx, run_id)


def status(
    ctx: typer.Context,
    run_id: Annotated[
        str | None, typer.Argument(help="A run's id; without it all runs are listed.", metavar="RUN")
    ] = None,
    only: Annotated[RunStatus | None, typer.Option("--status", help="Only runs with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most runs listed.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show where the runs stand, or one run in full."""
    with client_of(ctx) as client:
        if run_id is not None:
            view = client.run(run_id)
            return print_json(view) if as_json else Console().print(run_panel(view))
        runs = client.runs(status=only, limit=limit)
    return print_json(runs) if as_json else Console().print(runs_table(runs))


def watch(ctx: typer.Context, run_id: RunArgument) -> None:
    """Watch a run until it ends: a live screen on a terminal, plain lines elsewhere."""
    console = Console()
    picture = None
    with client_of(ctx) as client:
        try:
            for picture in show(follow(client, run_id), console):  # noqa: B007 - the last one is shown below
                pass
        except KeyboardInterrupt:
            console.print("No longer watched; the run goes on.")
            raise typer.Exit(130) from None
    if picture is not None:
        console.print(run_panel(picture.run))
        if picture.run.status is RunStatus.FAILED:
            raise typer.Exit(1)


def resume(
    ctx: typer.Context,
    run_id: RunArgument,
    answer: Annotated[Answer | None, typer.Option(help="Answer to the open review, if there is one.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Words for the record.")] = "",
) -> None:
    """Let a paused run go on; a run that waits for a review needs an answer as well."""
    with client_of(ctx) as client:
        view = client.run(run_id)
        if view.status is RunStatus.WAITING and answer is None:
            raise local_problem(
                "answer_needed",
                "The run waits for an answer",
                f"Read the question with `aft review show {view.review_id}`, then answer with "
                f"`aft review approve {view.review_id}` or `aft review reject {view.review_id}`.",
            )
        if answer is None:  # a run that is paused may have a question too, which is not answered by going on
            command = Resume(message=message)
        else:
            command = Resume(review_id=view.review_id, answer=answer, message=message)
        report(client.send(run_id, command))


def interrupt(ctx: typer.Context, run_id: RunArgument) -> None:
    """Pause a run at the next step boundary."""
    with client_of(ctx) as client:
        report(client.send(run_id, Pause()))


def stop(ctx: typer.Context, run_id: RunArgument) -> None:
    """End a run at the next step boundary; what was trained is kept."""
    with client_of(ctx) as client:
        report(client.send(run_id, Stop()))


def events(
    ctx: typer.Context,
    run_id: RunArgument,
    after: Annotated[int, typer.Option(min=0, help="Only events later than this number.")] = 0,
    follow_them: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print what happened to a run, oldest first; with --json one object a line."""
    for event in _events(ctx, run_id, after, follow_them):
        typer.echo(event.model_dump_json() if as_json else event_line(event))


def diagnose(ctx: typer.Context, run_id: RunArgument, as_json: JsonFlag = False) -> None:
    """Show what a run's incidents turned out to be, with the evidence."""
    with client_of(ctx) as client:
        reports = client.diagnoses(run_id)
    if as_json:
        return print_json(reports)
    console = Console()
    if not reports:
        console.print("No incident so far.")
    for report_ in reports:
        console.print(diagnosis_panel(report_))
    return None


def report(record: CommandRecord) -> None:
    """Print what became of a command."""
    typer.echo(f"{record.command.kind}: {record.status}. {record.outcome}".rstrip())


def _events(ctx: typer.Context, run_id: str, after: int, follow_them: bool) -> Iterator[Event]:
    with client_of(ctx) as client:
        if follow_them:
            for picture in follow(client, run_id, poll_s=FOLLOW_WAIT_S):
                yield from (event for event in picture.new_events if event.seq > after)
            return
        yield from client.all_events(run_id, after=after)
