"""What can be wrong with checkpoints."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class NoGoodCheckpoint(WorkerError):
    """A run has checkpoints, but none that can be continued from."""

    status = HTTPStatus.CONFLICT


class CheckpointConflict(WorkerError):
    """A committed checkpoint of the same generation and step holds another state."""

    status = HTTPStatus.CONFLICT


class CheckpointNotWritten(WorkerError):
    """A checkpoint could not be written, so its window is not committed."""

    status = HTTPStatus.INSUFFICIENT_STORAGE


class NonFiniteParameters(WorkerError):
    """The trained parameters hold a value that is not finite, so they are not saved."""

    status = HTTPStatus.CONFLICT


class DamagedCheckpoint(WorkerError):
    """A checkpoint does not match its manifest."""
