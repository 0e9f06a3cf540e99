"""Problem: an error in words and with a stable code (RFC 9457)."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from .contract import Contract


def _storable(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts, if JSON can carry them: numbers that are not finite would be refused by a store, and later."""
    pending: list[Any] = [facts]
    while pending:
        value = pending.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"holds the number {value}, which JSON does not have")
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return facts


class Problem(Contract):
    """What went wrong, for people (`detail`) and for programs (`code`)."""

    type: str = "about:blank"
    """URI of the problem's kind."""
    title: str
    """The kind of problem in a few words."""
    status: int = Field(ge=400, le=599)
    """HTTP status."""
    code: str
    """Stable snake_case code."""
    detail: str
    """What happened, with the value given and the remedy."""
    facts: Annotated[dict[str, Any], AfterValidator(_storable)] = {}
    """Ids and figures that belong to it."""
