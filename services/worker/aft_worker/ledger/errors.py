"""Why there is no report of samples."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class NothingTrainedYet(WorkerError):
    """There is nothing to report on."""

    status = HTTPStatus.CONFLICT


class UnknownDomain(WorkerError):
    """The run has not trained on any sample of the domain."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
