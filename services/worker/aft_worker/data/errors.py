"""What can be wrong with training data and with the plan that draws from it."""

from http import HTTPStatus

from aft_worker.data.place import Place
from aft_worker.errors import WorkerError


class DataFileMissing(WorkerError):
    """A data file does not exist."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, path: str) -> None:
        super().__init__(f"Data file {path!r} does not exist on the worker; check the path.", path=path)


class DataFormatUnknown(WorkerError):
    """The format of a data file cannot be told from its name."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class DataFileUnreadable(WorkerError):
    """A data file, or a data set, cannot be opened at all."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class DatasetsMissing(WorkerError):
    """The library that opens data sets is not installed."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class SplitMissing(WorkerError):
    """A data set has no such split, or several and none was named."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class BadRow(WorkerError):
    """A row of a data file cannot be trained on."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, place: Place, found: str, expected: str) -> None:
        super().__init__(f"{place}: found {found}, expected {expected}.", path=place.path, **{place.unit: place.number})


class DuplicateSampleId(WorkerError):
    """Two rows carry the same id."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class EmptyDomain(WorkerError):
    """A domain has no row that can be drawn."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class EverythingBlacklisted(WorkerError):
    """Every row of a domain is blacklisted."""

    status = HTTPStatus.CONFLICT


class InvalidMix(WorkerError):
    """The mixture weights cannot be drawn with."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TokenizerUnusable(WorkerError):
    """The model directory's tokenizer cannot be used."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
