"""Errors of steering a run's course."""

from http import HTTPStatus

from aft_api.errors import AftError


class CommandImpossible(AftError):
    """The command cannot be carried out where the run stands now."""

    status = HTTPStatus.CONFLICT
