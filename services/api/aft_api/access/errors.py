"""Why somebody is not let in."""

from http import HTTPStatus

from aft_api.errors import AftError


class NotAuthenticated(AftError):
    """The request does not say who sends it."""

    status = HTTPStatus.UNAUTHORIZED


class NotAllowed(AftError):
    """The bearer of this token may not do this."""

    status = HTTPStatus.FORBIDDEN


class ForeignOrigin(AftError):
    """A page of another origin sent the request."""

    status = HTTPStatus.FORBIDDEN


class TooManyRequests(AftError):
    """More requests than one token may send."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, after_s: float) -> None:
        super().__init__(f"Wait {after_s:.1f} s, or raise AFT_REQUESTS_PER_S.", after_s=round(after_s, 1))
        self.after_s = after_s


class BodyTooLarge(AftError):
    """The request's body is larger than the API takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"A body may have {most_bytes} bytes; AFT_MOST_BODY_BYTES sets it.", most_bytes=most_bytes)


class TokenNotFound(AftError):
    """There is no such token."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, token_id: str) -> None:
        super().__init__(f"There is no token {token_id!r}. `aft token list` shows them.", token_id=token_id)
