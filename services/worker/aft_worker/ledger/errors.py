"""Why samples cannot be written down or reported."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class NothingTrainedYet(WorkerError):
    """There is nothing to report on."""

    status = HTTPStatus.CONFLICT


class UnknownDomain(WorkerError):
    """The run has not trained on any sample of the domain."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class LedgerNotWritten(WorkerError):
    """The ledger could not be written to disk."""
