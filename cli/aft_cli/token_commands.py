"""Commands that make, list and revoke API tokens."""

import asyncio
import getpass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from aft_cli.connection import client_of
from aft_cli.error_screens import ErrorScreens
from aft_cli.errors import ApiError
from aft_cli.json_output import print_json
from aft_cli.run_commands import JsonFlag
from aft_cli.service_commands import require
from aft_contracts import NewToken, Role, TokenRequest, TokenView

LocalOption = Annotated[
    bool, typer.Option("--local", help="Speak to the API's store on this machine, without an API and without a token.")
]

app = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="API tokens: create, list, revoke.")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is; the audit trail names its bearer so.")],
    role: Annotated[Role, typer.Option(help="What its bearer may do.")] = Role.VIEWER,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid, in days.")] = 90,
    local: LocalOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a token, and print it the one time that it can be seen."""
    asked = TokenRequest(name=name, role=role, days=days)
    made = _create_locally(asked) if local else _create(ctx, asked)
    if as_json:
        print_json(made)
        return
    typer.echo(made.token)
    until = f"{made.view.expires_at:%Y-%m-%d}"
    typer.echo(f"{made.view.name}, {made.view.role}, until {until}. It is not shown again.", err=True)


@app.command("list")
def list_tokens(ctx: typer.Context, local: LocalOption = False, as_json: JsonFlag = False) -> None:
    """List the tokens, without their secrets."""
    if local:
        found = _list_locally()
    else:
        with client_of(ctx) as client:
            found = client.tokens()
    return print_json(found) if as_json else Console().print(_table(found))


@app.command()
def revoke(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(help="The token's id, as `aft token list` shows it.", metavar="TOKEN_ID")],
    local: LocalOption = False,
) -> None:
    """End a token now."""
    if local:
        ended = _revoke_locally(token_id)
    else:
        with client_of(ctx) as client:
            ended = client.revoke_token(token_id)
    typer.echo(f"{ended.token_id} ({ended.name}) is revoked.")


def _create(ctx: typer.Context, asked: TokenRequest) -> NewToken:
    with client_of(ctx) as client:
        return client.create_token(asked)


# The API's package is imported below alone: the CLI also works where it is not installed.


def _create_locally(asked: TokenRequest) -> NewToken:
    require("aft_api", "api")
    from aft_api.access.local import create_locally
    from aft_api.settings import Settings

    return asyncio.run(create_locally(Settings(), asked, by=f"{getpass.getuser()} on this machine"))


def _list_locally() -> list[TokenView]:
    require("aft_api", "api")
    from aft_api.access.local import list_locally
    from aft_api.settings import Settings

    return asyncio.run(list_locally(Settings()))


def _revoke_locally(token_id: str) -> TokenView:
    require("aft_api", "api")
    from aft_api.access.errors import TokenNotFound
    from aft_api.access.local import revoke_locally
    from aft_api.settings import Settings

    try:
        return asyncio.run(revoke_locally(Settings(), token_id))
    except TokenNotFound as unknown:
        raise ApiError(unknown.problem) from unknown


def _table(tokens: list[TokenView]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("id", "name", "role", "expires", "last used", "state"):
        table.add_column(column)
    for token in tokens:
        used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
        state = f"revoked {token.revoked_at:%Y-%m-%d}" if token.revoked_at else ""
        table.add_row(token.token_id, token.name, token.role, f"{token.expires_at:%Y-%m-%d}", used, state)
    return table
