"""API tokens: who may do what."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from .contract import Contract


class Role(StrEnum):
    """What the bearer of a token may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """See runs, reviews and workers; no rows of data."""
    OPERATOR = "operator"
    """Start and steer runs, answer reviews, preview data, drain workers."""
    ADMIN = "admin"
    """Make and revoke tokens."""


class TokenRequest(Contract):
    """A token that is asked for."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
    """Whose it is; the audit trail names its bearer so."""
    role: Role = Role.VIEWER
    """What its bearer may do."""
    days: int = Field(default=90, ge=1, le=3650)
    """How long it is valid, in days."""


class TokenView(Contract):
    """A token without its secret, which nobody can show again."""

    token_id: str
    """Its id, the second part of the token."""
    name: str
    """Whose it is."""
    role: Role
    """What its bearer may do."""
    created_by: str
    """Who made it."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime
    """When it ends."""
    revoked_at: datetime | None = None
    """When it was revoked; None while it was not."""
    last_used_at: datetime | None = None
    """When it was last used, to the minute; None before that."""


class NewToken(Contract):
    """A token that was just made: the one time that its secret is shown."""

    token: str
    """What goes into AFT_TOKEN, or into `Authorization: Bearer …`."""
    view: TokenView
    """What is kept of it."""
