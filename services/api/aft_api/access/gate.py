"""The gate: every request passes it before anything of it is read, and every answer on its way out."""

import math
import time
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aft_api.access.errors import BodyTooLarge, ForeignOrigin, NotAllowed, NotAuthenticated, TooManyRequests
from aft_api.access.identity import LOCAL, Authenticator, Identity
from aft_api.access.rate import Buckets
from aft_api.access.rules import Door, may, need_of
from aft_api.errors import AftError
from aft_api.problems import answer, answer_to_error
from aft_api.settings import Settings, is_loopback

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of every answer that does not bring its own."""
PAGES_WITH_SCRIPTS = {"/docs", "/redoc"}
"""FastAPI's pages load their scripts from elsewhere; they keep every header but the policy against that."""


@dataclass(frozen=True)
class Gate:
    """ASGI middleware: who asks, whether they may, how often, and how much they send."""

    app: ASGIApp
    _: KW_ONLY
    settings: Settings
    buckets: Buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            assert scope["type"] == "lifespan", "the API has no websockets"
            await self.app(scope, receive, send)
            return
        reply = _Reply(scope, send, is_https=self.settings.public_url.startswith("https:"))
        try:
            await self._reply(scope, receive, reply)
        except Exception as error:
            # Starlette's own answer to an error is given outside every middleware, and lacks the headers.
            if reply.has_begun:
                raise
            await answer_to_error(scope["path"], error)(scope, receive, reply.send)

    async def _reply(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        body = _Body(receive, self.settings.most_body_bytes)
        try:
            body.refuse_announced(Headers(scope=scope))
            scope.setdefault("state", {})["identity"] = await self._admit(scope)
        except AftError as error:
            await _refusal(error)(scope, receive, reply.send)
            return
        await self.app(scope, body.receive, reply.send)

    async def _admit(self, scope: Scope) -> Identity:
        headers = Headers(scope=scope)
        need = need_of(scope["method"], scope["path"])
        authenticator: Authenticator = scope["app"].state.authenticator
        if need is Door.OPEN:
            return LOCAL
        if not self.settings.requires_authentication:
            self._refuse_foreign_pages(headers)
        if need is Door.WORKER and self.settings.worker_token is None and not self.settings.requires_authentication:
            return LOCAL
        identity = await self._identify(authenticator, headers, scope)
        if need is Door.WORKER:
            if identity.key != "worker":
                raise NotAllowed("Only a worker may do this, with the AFT_WORKER_TOKEN that the API has too.")
            return identity
        if identity.role is None or not may(identity.role, need):
            held = identity.role or "worker"
            raise NotAllowed(f"This needs the role {need}; the token's is {held}.", needed=need, role=held)
        if identity is not LOCAL:
            self._count(identity.key)
        return identity

    async def _identify(self, authenticator: Authenticator, headers: Headers, scope: Scope) -> Identity:
        try:
            return await authenticator.identify(headers.get("authorization"))
        except NotAuthenticated:
            client = scope.get("client")
            self._count(f"unknown:{client[0] if client else ''}")
            raise

    def _count(self, sender: str) -> None:
        wait_s = self.buckets.take(sender, time.monotonic())
        if wait_s > 0:
            raise TooManyRequests(wait_s)

    def _refuse_foreign_pages(self, headers: Headers) -> None:
        """Where nobody needs a token, a page in a browser on this machine must not be able to act for its reader."""
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not is_loopback(host) and host != urlsplit(self.settings.public_url).hostname:
            raise ForeignOrigin(
                f"The Host header names {host!r}. An API without tokens answers to this machine's own names alone."
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise ForeignOrigin(f"A page of {origin!r} may not talk to this API.")


class _Body:
    """A request's body, up to a number of bytes."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive, self._most_bytes, self._bytes = receive, most_bytes, 0

    def refuse_announced(self, headers: Headers) -> None:
        """Refuse before it is sent what says that it is too long."""
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._most_bytes:
            raise BodyTooLarge(self._most_bytes)

    async def receive(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most_bytes:
            # An error of ours would be taken for a broken body where FastAPI reads it.
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(BodyTooLarge(self._most_bytes)))
        return message


def _refusal(error: AftError) -> ASGIApp:
    response = answer(error.problem)
    if isinstance(error, NotAuthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(math.ceil(error.after_s))
    return response


class _Reply:
    """An answer on its way out, given the headers that it does not bring."""

    def __init__(self, scope: Scope, send: Send, *, is_https: bool) -> None:
        self._scope, self._send, self._is_https = scope, send, is_https
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                if name != "Content-Security-Policy" or self._scope["path"] not in PAGES_WITH_SCRIPTS:
                    headers.setdefault(name, value)
            if self._is_https:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        await self._send(message)
