"""What can be wrong with a request about a run."""

from http import HTTPStatus

from aft_api.errors import AftError
from aft_contracts import Problem


class RunNotFound(AftError):
    """There is no run with this id."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id!r}. `aft status` lists the runs.", run_id=run_id)


class RunFinished(AftError):
    """The run has ended and takes no more commands."""

    status = HTTPStatus.CONFLICT

    def __init__(self, run_id: str, run_status: str, kind: str) -> None:
        super().__init__(
            f"Run {run_id} has {run_status}; the command {kind!r} came too late. Start a new run instead.",
            run_id=run_id,
            run_status=run_status,
            kind=kind,
        )


class NothingToResume(AftError):
    """The run is neither paused nor waiting for an answer."""

    status = HTTPStatus.CONFLICT

    def __init__(self, run_id: str, run_status: str) -> None:
        super().__init__(
            f"Run {run_id} is {run_status}: it is not paused and no review is open.",
            run_id=run_id,
            run_status=run_status,
        )


class AlreadyPaused(AftError):
    """The run holds already."""

    status = HTTPStatus.CONFLICT

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} is paused, or will be at the next step boundary.", run_id=run_id)


class RefusedBefore(AftError):
    """The same command under the same key was refused; the refusal is told again, as it was."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        super().__init__(problem.detail, **problem.facts)

    @property
    def problem(self) -> Problem:
        """The problem as it was told the first time."""
        return self._problem


class IdempotencyConflict(AftError):
    """The idempotency key was used before, for something else."""

    status = HTTPStatus.CONFLICT

    def __init__(self, key: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} was used before with another body. Use a new key.", key=key)
