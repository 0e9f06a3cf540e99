"""Which API the commands talk to."""

from typing import cast

import typer

from aft_cli.client import AftClient

DEFAULT_API_URL = "http://127.0.0.1:8800"


def client_of(ctx: typer.Context) -> AftClient:
    """A client of the API that --api or AFT_API_URL names."""
    return AftClient(cast(str, ctx.find_root().obj))
