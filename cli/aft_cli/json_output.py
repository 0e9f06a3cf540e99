"""Contracts as JSON on standard output."""

import json
from collections.abc import Sequence

import typer

from aft_contracts import Contract


def print_json(given: Contract | Sequence[Contract]) -> None:
    """Print one contract as an object, several as a list; figures that are not finite become the contracts' words."""
    body = (
        given.model_dump(mode="json")
        if isinstance(given, Contract)
        else [item.model_dump(mode="json") for item in given]
    )
    typer.echo(json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False))
