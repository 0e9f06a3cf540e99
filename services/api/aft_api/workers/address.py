"""Addresses of workers: which text can be one."""

from urllib.parse import urlsplit


def address_fault(base_url: str) -> str | None:
    """Why nobody could ever reach a worker there, in words that go on from "it"; None where somebody may."""
    try:
        url = urlsplit(base_url)
        _ = url.port  # read only now, and perhaps no number
    except ValueError:
        url = None
    # Whatever is not printed is no part of a URL: Postgres keeps no NUL, and urlsplit leaves line breaks out unasked.
    if url is None or url.scheme not in {"http", "https"} or not url.hostname or not base_url.isprintable():
        return "must be like http://host:port"
    try:
        url.hostname.encode("idna")  # as the resolver will
    except UnicodeError:
        return "has no host name: each of its parts, between two dots, must have 1 to 63 characters"
    return None
