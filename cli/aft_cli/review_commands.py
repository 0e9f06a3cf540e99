"""Commands that list, show and answer reviews."""

from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from aft_cli.config_file import ConfigError, FieldFault, faults_of
from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.errors import local_problem
from aft_cli.json_output import print_json
from aft_cli.reports import reviews_table
from aft_cli.review_panel import review_panel
from aft_cli.run_commands import JsonFlag, report
from aft_contracts import Approve, Command, Edit, Reject, Repair, Respond, Review, ReviewStatus

ReviewArgument = Annotated[str, typer.Argument(help="The review's id.", metavar="REVIEW")]
Message = Annotated[str, typer.Option("--message", "-m", help="Words for the record.")]
Key = Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key twice is one answer.")]

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="Questions that wait for a human.")


@app.command("list")
def list_reviews(
    ctx: typer.Context,
    run_id: Annotated[str | None, typer.Option("--run", help="Only reviews of this run.")] = None,
    decided: Annotated[bool, typer.Option("--decided", help="Those already answered instead.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All of them, answered or not.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the open questions."""
    state = None if every else ReviewStatus.DECIDED if decided else ReviewStatus.OPEN
    with client_of(ctx) as client:
        reviews = client.reviews(state=state, run_id=run_id)
    return print_json(reviews) if as_json else Console().print(reviews_table(reviews))


@app.command()
def show(ctx: typer.Context, review_id: ReviewArgument, as_json: JsonFlag = False) -> None:
    """Show one question: what happened, the options, and what each would do."""
    with client_of(ctx) as client:
        review = client.review(review_id)
    return print_json(review) if as_json else Console().print(review_panel(review))


@app.command()
def approve(
    ctx: typer.Context,
    review_id: ReviewArgument,
    option: Annotated[
        str | None, typer.Option("--option", help="Take this option of the review instead of what is proposed.")
    ] = None,
    message: Message = "",
    key: Key = None,
) -> None:
    """Do what is proposed, or take another option."""
    with client_of(ctx) as client:
        review = client.review(review_id)
        command = Approve(review_id=review_id) if option is None else _option(review, option)
        if message and "message" in type(command).model_fields:
            command = command.model_copy(update={"message": message})
        report(client.send(review.run_id, command, idempotency_key=key))


@app.command()
def reject(ctx: typer.Context, review_id: ReviewArgument, message: Message = "", key: Key = None) -> None:
    """Change nothing and go on."""
    _answer(ctx, review_id, Reject(review_id=review_id, message=message), key)


@app.command()
def respond(
    ctx: typer.Context,
    review_id: ReviewArgument,
    message: Annotated[str, typer.Argument(help="The words.")],
    key: Key = None,
) -> None:
    """Change nothing and go on, with words for the record."""
    if not message:
        raise ConfigError("respond", [FieldFault(field="MESSAGE", given="nothing", expected="words for the record")])
    _answer(ctx, review_id, Respond(review_id=review_id, message=message), key)


@app.command()
def edit(
    ctx: typer.Context,
    review_id: ReviewArgument,
    repair: Annotated[str, typer.Option("--repair", help="The repair to make instead, as JSON.")],
    message: Message = "",
    key: Key = None,
) -> None:
    """Do another repair than the proposed one."""
    try:
        instead = Repair.model_validate_json(repair)
    except ValidationError as refused:
        raise ConfigError("--repair", faults_of(refused, _as_written(refused), Repair)) from refused
    _answer(ctx, review_id, Edit(review_id=review_id, repair=instead, message=message), key)


def _as_written(refused: ValidationError) -> dict[str, object]:
    return {str(error["loc"][0]): error["input"] for error in refused.errors() if error["loc"]}


def _option(review: Review, name: str) -> Command:
    option = review.option(name)
    if option is None:
        names = ", ".join(one.name for one in review.options) or "none"
        raise local_problem(
            "unknown_option", "The review has no such option", f"{name!r} is none of its options: {names}."
        )
    return option.command


def _answer(ctx: typer.Context, review_id: str, command: Command, key: str | None) -> None:
    with client_of(ctx) as client:
        report(client.send(client.review(review_id).run_id, command, idempotency_key=key))
