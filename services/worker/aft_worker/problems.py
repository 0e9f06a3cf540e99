"""Any exception as a problem document."""

from aft_contracts import Problem
from aft_worker.errors import WorkerError

_LONGEST_DETAIL = 2000
"""Characters; a compiler's error may run to megabytes."""


def problem_of(error: Exception) -> Problem:
    """The error in words and with a stable code; one that is not ours is an `internal_error`."""
    if isinstance(error, WorkerError):
        return error.problem
    return Problem(
        title="Something went wrong inside the worker.",
        status=500,
        code="internal_error",
        detail=f"{type(error).__name__}: {error}"[:_LONGEST_DETAIL],
    )
