"""Commands that tell a run something, and that list what it was told."""

import json
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console

from aft_cli.config_file import ConfigError, FieldFault
from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.json_output import print_json
from aft_cli.reports import commands_table
from aft_cli.run_commands import JsonFlag, RunArgument, report
from aft_contracts import Command

KINDS = {get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(get_args(Command)[0])}
COMMAND: TypeAdapter[Command] = TypeAdapter(Command)


class RunFirst(ErrorScreens):
    """A group whose first word is the name of a subcommand or else a run's id, which `tell` is for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand, and what is left for it to read."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            return "tell", self.commands["tell"], args
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=RunFirst,
    no_args_is_help=True,
    help="Tell a run something: `aft command RUN KIND [NAME=VALUE ...]`, as in `aft command RUN set_lr "
    f"learning_rate=1e-5`. Kinds: {', '.join(KINDS)}.",
)


@app.command(hidden=True)
def tell(
    ctx: typer.Context,
    run_id: RunArgument,
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(help="The command's fields: learning_rate=1e-5, sample_ids=a,b.", metavar="[NAME=VALUE]..."),
    ] = None,
    as_object: Annotated[
        str | None, typer.Option("--json", help="The same as a JSON object, as in '{\"learning_rate\": 1e-5}'.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key twice is one command.")] = None,
) -> None:
    """Tell a run something; it takes effect at the next step boundary."""
    values = _object(as_object) | dict(_pair(kind, field) for field in fields or ())
    with client_of(ctx) as client:
        report(client.send(run_id, _command(kind, values), idempotency_key=key))


@app.command("list")
def list_commands(ctx: typer.Context, run_id: RunArgument, as_json: JsonFlag = False) -> None:
    """List what a run was told: when, by whom, through what, and what came of it."""
    with client_of(ctx) as client:
        told = client.commands(run_id)
    return print_json(told) if as_json else Console().print(commands_table(told))


def _object(text: str | None) -> dict[str, Any]:
    try:
        values = {} if text is None else json.loads(text)
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise ConfigError("--json", [FieldFault(field="--json", given=str(text), expected="a JSON object")])
    return values


def _pair(kind: str, field: str) -> tuple[str, Any]:
    name, equals, text = field.partition("=")
    if not equals:
        raise ConfigError(f"command {kind}", [FieldFault(field=field, given=field, expected="NAME=VALUE")])
    return name, _value(kind, name, text)


def _value(kind: str, name: str, text: str) -> Any:
    """JSON where it is JSON, words where it is not; a list may be written with commas."""
    known = KINDS[kind].model_fields.get(name) if kind in KINDS else None
    if known is not None and get_origin(known.annotation) is tuple and not text.startswith("["):
        return text.split(",")
    if known is not None and known.annotation in {str, str | None}:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _command(kind: str, values: dict[str, Any]) -> Command:
    try:
        return COMMAND.validate_python(values | {"kind": kind})
    except ValidationError as refused:
        raise ConfigError(f"command {kind}", [_fault(error) for error in refused.errors()]) from refused


def _fault(error: ErrorDetails) -> FieldFault:
    if error["type"] == "union_tag_invalid":
        return FieldFault(field="kind", given=repr(error["ctx"]["tag"]), expected=error["ctx"]["expected_tags"])
    field = ".".join(str(part) for part in error["loc"][1:])
    given = "nothing" if error["type"] == "missing" else repr(error["input"])
    return FieldFault(field=field, given=given, expected=error["msg"].removeprefix("Input should be "))
