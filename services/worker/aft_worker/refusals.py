"""Why the worker refuses a request."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class SpecHashMismatch(WorkerError):
    """The hash sent is not the spec's."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class InvalidId(WorkerError):
    """An id cannot be used, or is not the one in the address."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class SpecConflict(WorkerError):
    """The id is taken by another spec."""

    status = HTTPStatus.CONFLICT


class StaleFence(WorkerError):
    """Another owner with a newer lease has spoken for the run."""

    status = HTTPStatus.PRECONDITION_FAILED


class RunNotLoaded(WorkerError):
    """The worker does not hold the run."""

    status = HTTPStatus.CONFLICT


class RunUnknown(WorkerError):
    """The worker has no files of the run."""

    status = HTTPStatus.NOT_FOUND


class NoFreeSlot(WorkerError):
    """The worker holds as many runs as it may."""

    status = HTTPStatus.CONFLICT


class JobNotFound(WorkerError):
    """The worker knows of no such job."""

    status = HTTPStatus.NOT_FOUND


class TrainingThreadDead(WorkerError):
    """The worker can no longer train."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
