"""Secrets in logs: replaced in the finished line, tracebacks and other people's messages included."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from aft_api.settings import Settings

HIDDEN = "[hidden]"
SHAPES = re.compile(
    r"aft_[0-9a-f]{12}_[A-Za-z0-9_-]{20,}"  # our own tokens
    r"|(?<=[Bb]earer )[^\s'\",]+"
    r"|(?<=/answer/)[^\s'\"?]+"  # a link that answers a question
    r"|whsec_[A-Za-z0-9+/=]+"
    r"|xox[a-z]-[A-Za-z0-9-]+"  # Slack's
    r"|https://hooks\.slack\.com/[^\s'\"]+"  # an address that is a secret as a whole
    r"|eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a JWT
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # a name and password in a URL
)
"""What a secret looks like that is not among the settings, such as one that a request brought."""


class Redactor:
    """structlog's last processor: takes the rendered line and gives it back without secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _: Any, __: str, line: Any) -> str:
        """The line with every secret hidden."""
        if self._known is not None:
            line = self._known.sub(HIDDEN, line)
        return SHAPES.sub(HIDDEN, line)


class RedactedFormatter(logging.Formatter):
    """For what libraries log by themselves, such as a server that met an error: the same, without secrets."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s [%(levelname)s] %(name)s: %(message)s")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The whole record, its traceback included."""
        return self._redactor(None, "", super().format(record))


def secrets_in(settings: Settings) -> set[str]:
    """Everything in the settings that nobody may read."""
    found = {secret for _, value in settings for secret in _secrets(value)}
    if settings.database_url is not None:
        password = urlsplit(settings.database_url).password
        found |= {password, unquote(password)} if password else set()
    return found


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _secrets(entry)
