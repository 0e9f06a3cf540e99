"""The worker's errors: each has a stable code (its class name in snake_case) and an HTTP status."""

import re
from http import HTTPStatus
from typing import Any, ClassVar

from aft_contracts import Problem


class WorkerError(Exception):
    """Something the worker was asked to do cannot be done; the docstring of each subclass is its title."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, **facts: Any) -> None:
        self.facts = facts
        super().__init__(detail)

    @property
    def problem(self) -> Problem:
        """The error as problem+json."""
        return Problem(
            title=(type(self).__doc__ or "").strip().splitlines()[0],
            status=int(self.status),
            code=re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower(),
            detail=str(self),
            facts=self.facts,
        )


class StorageFailed(WorkerError):
    """The worker's storage did not take or give what it should."""

    status = HTTPStatus.INSUFFICIENT_STORAGE
