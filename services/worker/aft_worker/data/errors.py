"""What can be wrong with training data and with the plan that draws from it."""

from http import HTTPStatus

from aft_worker.errors import WorkerError


class DataFileMissing(WorkerError):
    """A data file does not exist."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class BadRow(WorkerError):
    """A row of a data file cannot be trained on."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, path: str, line: int, found: str, expected: str) -> None:
        super().__init__(f"{path}, line {line}: found {found}, expected {expected}.", path=path, line=line)


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
