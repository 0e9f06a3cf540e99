"""Approve links: a signed, expiring address of one question's answer page, for whoever was sent it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from aft_api.errors import AftError
from aft_contracts import Review


class LinkInvalid(AftError):
    """The link is not one of ours."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self) -> None:
        super().__init__("The link is incomplete, or was changed, or its secret (AFT_LINK_SECRET) was replaced.")


class LinkExpired(AftError):
    """The link has expired."""

    status = HTTPStatus.GONE

    def __init__(self, at: datetime) -> None:
        super().__init__(f"The link was good until {at:%Y-%m-%d %H:%M} UTC; `aft review` still answers.")


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a link lets its bearer do: answer one question, on behalf of the target it was sent to."""

    review_id: str
    sent_to: str
    """Id of the target that it was sent to."""

    @property
    def user(self) -> str:
        """Who answers by it, for the record."""
        return f"link:{self.sent_to}"


class Links:
    """Makes and reads links. A question is answered once, so a link is good once: no use of it needs to be kept.

    The token is a function of the question and the target, so that every attempt to send a message carries the same.
    """

    def __init__(self, secret: str, public_url: str, *, ttl: timedelta) -> None:
        self._serializer = URLSafeSerializer(secret, salt="aft review link")
        self._base, self._ttl = public_url.rstrip("/"), ttl

    def url(self, review: Review, sent_to: str, *, take: str = "") -> str:
        """The address of the answer page; `take` is the answer that it proposes."""
        until = review.created_at + self._ttl
        if review.deadline_at is not None:
            until = min(until, review.deadline_at)
        token = self._serializer.dumps([review.review_id, sent_to, int(until.timestamp())])
        return f"{self._base}/answer/{token}{f'?take={take}' if take else ''}"

    def read(self, token: str, now: datetime) -> Link:
        """What the token allows.

        Raises:
            LinkInvalid: it was not made with our secret.
            LinkExpired: its time is over.
        """
        try:
            review_id, sent_to, until = _parts(self._serializer.loads(token))
        except (BadData, ValueError, TypeError) as error:
            raise LinkInvalid from error
        if now > until:
            raise LinkExpired(until)
        return Link(review_id=review_id, sent_to=sent_to)


def _parts(loaded: Any) -> tuple[str, str, datetime]:
    review_id, sent_to, until_s = loaded
    return str(review_id), str(sent_to), datetime.fromtimestamp(int(until_s), tz=UTC)
