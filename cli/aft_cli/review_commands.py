"""Commands that list, show and answer reviews."""

from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from aft_cli.config_file import ConfigError, FieldFault
from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.json_output import print_json
from aft_cli.live_view import review_panel
from aft_cli.reports import reviews_table
from aft_cli.run_commands import JsonFlag, report
from aft_contracts import Answer, Repair, Resume, ReviewStatus

ReviewArgument = Annotated[str, typer.Argument(help="The review's id.", metavar="REVIEW")]
Message = Annotated[str, typer.Option("--message", "-m", help="Words for the record.")]

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="Questions that wait for a human.")


@app.command("list")
def list_reviews(
    ctx: typer.Context,
    run_id: Annotated[str | None, typer.Option("--run", help="Only reviews of this run.")] = None,
    decided: Annotated[bool, typer.Option("--decided", help="Those already answered instead.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the open questions."""
    with client_of(ctx) as client:
        reviews = client.reviews(status=ReviewStatus.DECIDED if decided else ReviewStatus.OPEN, run_id=run_id)
    return print_json(reviews) if as_json else Console().print(reviews_table(reviews))


@app.command()
def show(ctx: typer.Context, review_id: ReviewArgument, as_json: JsonFlag = False) -> None:
    """Show one question, what is proposed and why."""
    with client_of(ctx) as client:
        review = client.review(review_id)
    return print_json(review) if as_json else Console().print(review_panel(review))


@app.command()
def approve(ctx: typer.Context, review_id: ReviewArgument, message: Message = "") -> None:
    """Do what is proposed."""
    _answer(ctx, review_id, Answer.APPROVE, message)


@app.command()
def reject(ctx: typer.Context, review_id: ReviewArgument, message: Message = "") -> None:
    """Change nothing and go on."""
    _answer(ctx, review_id, Answer.REJECT, message)


@app.command()
def respond(ctx: typer.Context, review_id: ReviewArgument, message: Annotated[str, typer.Argument()]) -> None:
    """Change nothing and go on, with words for the record."""
    _answer(ctx, review_id, Answer.RESPOND, message)


@app.command()
def edit(
    ctx: typer.Context,
    review_id: ReviewArgument,
    repair: Annotated[str, typer.Option("--repair", help="The repair to make instead, as JSON.")],
    message: Message = "",
) -> None:
    """Do another repair than the proposed one."""
    try:
        instead = Repair.model_validate_json(repair)
    except ValidationError as refused:
        faults = [
            FieldFault(field=".".join(map(str, error["loc"])), given=repr(error["input"]), expected=error["msg"])
            for error in refused.errors()
        ]
        raise ConfigError("--repair", faults) from refused
    _answer(ctx, review_id, Answer.EDIT, message, instead)


def _answer(ctx: typer.Context, review_id: str, answer: Answer, message: str, repair: Repair | None = None) -> None:
    with client_of(ctx) as client:
        run_id = client.review(review_id).run_id
        report(client.send(run_id, Resume(review_id=review_id, answer=answer, repair=repair, message=message)))
