"""Secrets in logs: replaced in the finished line, tracebacks and other people's messages included."""

import re
from typing import Any

from aft_worker.settings import WorkerSettings

HIDDEN = "[hidden]"
SHAPES = re.compile(r"(?<=[Bb]earer )[^\s'\",]+|hf_[A-Za-z0-9]{20,}|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
"""A credential in a header, a token of the Hugging Face hub, a name and password in a URL."""


class Redactor:
    """structlog's last processor: takes the rendered line and gives it back without secrets."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._token = None if settings.token is None else settings.token.get_secret_value()

    def __call__(self, _: Any, __: str, line: Any) -> str:
        """The line with every secret hidden."""
        return SHAPES.sub(HIDDEN, line if self._token is None else line.replace(self._token, HIDDEN))
