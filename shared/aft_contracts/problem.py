"""Problem: an error in words and with a stable code (RFC 9457)."""

from typing import Any

from pydantic import Field

from .contract import Contract


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
    facts: dict[str, Any] = {}
    """Ids and figures that belong to it."""
