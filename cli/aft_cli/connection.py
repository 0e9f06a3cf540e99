"""Which API the commands talk to."""

import os
from typing import cast

import typer

from aft_cli.client import AftClient

DEFAULT_API_URL = "http://127.0.0.1:8800"


def client_of(ctx: typer.Context) -> AftClient:
    """A client of the API that --api or AFT_API_URL names, with the token in AFT_TOKEN if there is one."""
    return AftClient(cast(str, ctx.find_root().obj), token=os.environ.get("AFT_TOKEN"))
