"""What can be wrong with a worker."""

from http import HTTPStatus

from aft_api.errors import AftError


class WorkerNotFound(AftError):
    """There is no such worker."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"No worker {worker_id!r} has registered; GET /workers lists those that have.", worker_id=worker_id
        )


class WorkerIdMismatch(AftError):
    """A heartbeat is about another worker than its address."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class WorkerUrlInvalid(AftError):
    """A worker gives an address that nobody can reach."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class WorkerNameTaken(AftError):
    """Another worker of this name answers."""

    status = HTTPStatus.CONFLICT

    def __init__(self, worker_id: str, *, url: str, other_url: str) -> None:
        super().__init__(
            f"The worker at {url} calls itself {worker_id!r}, and so does the one at {other_url}. "
            "Give one of them another AFT_WORKER_WORKER_ID.",
            worker_id=worker_id,
            url=url,
            other_url=other_url,
        )
