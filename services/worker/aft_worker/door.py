"""The worker's door: the API's credential on every route, and no body longer than the worker takes."""

import hmac
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aft_worker.errors import WorkerError
from aft_worker.settings import WorkerSettings

PROBE = "/v1/healthz"


class NotAuthenticated(WorkerError):
    """The request does not carry the workers' credential."""

    status = HTTPStatus.UNAUTHORIZED


class NoAuthentication(Exception):
    """The worker would listen where others reach it, with no way to tell who is the API."""


def refuse_open_door(settings: WorkerSettings) -> None:
    """Return if the worker may listen where it is told to.

    Raises:
        NoAuthentication: others reach that address, and there is no token.
    """
    if settings.token is None and not _is_loopback(settings.host):
        raise NoAuthentication(
            f"AFT_WORKER_HOST is {settings.host}, which others can reach, and AFT_WORKER_TOKEN is not set: anybody "
            "could train here. Set it, to the same 16 characters or more, for the worker and the API; or listen on "
            "127.0.0.1."
        )


@dataclass(frozen=True)
class Door:
    """ASGI middleware in front of every route; the probe alone needs no credential."""

    app: ASGIApp
    _: KW_ONLY
    settings: WorkerSettings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            assert scope["type"] == "lifespan", "the worker has no websockets"
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["path"] != PROBE and not self._is_known(headers.get("authorization")):
            await _refusal(scope, receive, send)
            return
        await self.app(scope, self._limited(headers, receive), send)

    def _is_known(self, authorization: str | None) -> bool:
        token = self.settings.token
        if token is None:
            return True
        expected = f"Bearer {token.get_secret_value()}"
        return authorization is not None and hmac.compare_digest(authorization.encode(), expected.encode())

    def _limited(self, headers: Headers, receive: Receive) -> Receive:
        announced, most_bytes = headers.get("content-length", ""), self.settings.most_body_bytes
        taken = int(announced[:20]) if announced.isdecimal() and int(announced[:20]) > most_bytes else 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive() if taken <= most_bytes else {"type": "http.request"}
            taken += len(message.get("body", b""))
            if taken > most_bytes:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"a body may have {most_bytes} bytes; AFT_WORKER_MOST_BODY_BYTES sets it",
                )
            return message

        return limited


async def _refusal(scope: Scope, receive: Receive, send: Send) -> None:
    problem = NotAuthenticated(
        "This worker answers to its API alone. Set AFT_WORKER_TOKEN to the same value for both.", path=scope["path"]
    ).problem
    headers = {"WWW-Authenticate": "Bearer"}
    await Response(problem.model_dump_json(), problem.status, headers=headers, media_type="application/problem+json")(
        scope, receive, send
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
