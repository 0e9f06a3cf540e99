"""The text of an API token: `aft_<id>_<secret>`. Of it only the id and a digest are kept.

The digest is a plain SHA-256, without salt and without many rounds. Those protect secrets that people choose, which can
be guessed one after the other; a secret here is 32 random bytes, and no number of guesses finds one.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

PREFIX = "aft_"
_FORM = re.compile(r"aft_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A new token, whole."""

    token_id: str
    text: str


def new_secret() -> Secret:
    """A token that nobody else has."""
    token_id = secrets.token_hex(6)
    return Secret(token_id=token_id, text=f"{PREFIX}{token_id}_{secrets.token_urlsafe(32)}")


def id_in(text: str) -> str | None:
    """The id in a token's text; None when it has not the form of one."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def digest_of(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_same(text: str, digest: str) -> bool:
    """Whether a text has this digest, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(digest_of(text), digest)
