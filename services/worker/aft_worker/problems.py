"""Any exception as a problem document."""

import errno

from aft_contracts import Problem
from aft_worker.errors import StorageFailed, WorkerError

_LONGEST_DETAIL = 2000
"""Characters; a compiler's error may run to megabytes."""

_STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


def problem_of(error: Exception) -> Problem:
    """The error in words and with a stable code; one that is not ours is an `internal_error`."""
    if isinstance(error, WorkerError):
        return error.problem
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        return StorageFailed(
            f"{error}. Make room on the worker's disk, or repair it; what is committed is safe."
        ).problem
    return Problem(
        title="Something went wrong inside the worker.",
        status=500,
        code="internal_error",
        detail=f"{type(error).__name__}: {error}"[:_LONGEST_DETAIL],
    )
