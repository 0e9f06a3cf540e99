"""Addresses of targets: their ids, and how they are shown."""

import hashlib
from urllib.parse import urlsplit


def target_id_of(channel: str, address: str) -> str:
    """The target's id: the same for the same address, and nothing can be read from it."""
    return hashlib.sha256(f"{channel}\n{address}".encode()).hexdigest()[:16]


def shown(channel: str, address: str) -> str:
    """The address without what may be secret in it: a URL's user, query and fragment."""
    if channel != "webhook":
        return address
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"
