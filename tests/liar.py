"""A worker that answers something else than the truth: it stands before another one and spoils what that says."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer, true or not."""

    status: int
    content: bytes
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Bytes after which the connection is reset; None sends it all."""

    @property
    def document(self) -> Any:
        """Its content, read."""
        return json.loads(self.content)

    def with_document(self, document: Any) -> "Said":
        """The same answer with another content; numbers that JSON does not have are written bare."""
        return replace(self, content=json.dumps(document).encode())


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    path: str

    @property
    def kind(self) -> str:
        """`windows`, `runs`, …"""
        return self.path.split("/")[2]


Tamper = Callable[[Asked, Said], Said]
"""What is said instead of the truth."""


def lying_app(honest: App, tamper: Tamper) -> App:
    """`honest`, as ASGI, with each answer gone through `tamper`."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await honest(scope, receive, send)
            return
        asked = Asked(method=scope["method"], path=scope["path"])
        await tell(tamper(asked, await _truth(honest, scope, receive)), send)

    return app


async def _truth(honest: App, scope: MutableMapping[str, Any], receive: Receive) -> Said:
    told: list[Message] = []

    async def keep(message: Message) -> None:
        told.append(message)

    await honest(scope, receive, keep)
    headers = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    return Said(
        status=told[0]["status"],
        content=b"".join(message.get("body", b"") for message in told[1:]),
        media_type=headers.get("content-type", ""),
    )


async def tell(said: Said, send: Send) -> None:
    headers = {"content-type": said.media_type, "content-length": str(len(said.content)), **said.headers}
    given = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    await send({"type": "http.response.start", "status": said.status, "headers": given})
    if said.cut_after is None:
        await send({"type": "http.response.body", "body": said.content})
        return
    await send({"type": "http.response.body", "body": said.content[: said.cut_after], "more_body": True})
    # The server finds too little said, and ends the connection in the middle of the answer.
    await send({"type": "http.response.body", "body": b""})
