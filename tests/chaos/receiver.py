"""A receiver of webhooks that writes down what it accepts, and refuses some when told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(kw_only=True)
class Receiver:
    """What was delivered."""

    url: str
    accepted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(webhook-id, body) of every attempt that was answered with 204, in order."""
    refused: int = 0
    """Attempts that were answered with 503, or not at all."""
    deaf_for: int = 0
    """How many attempts from now on it refuses."""

    def take(self, webhook_id: str, body: dict[str, Any]) -> bool:
        """Whether an attempt is accepted."""
        if self.deaf_for > 0:
            self.deaf_for, self.refused = self.deaf_for - 1, self.refused + 1
            return False
        self.accepted.append((webhook_id, body))
        return True


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port, on threads of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204 if taken.take(self.headers["webhook-id"], body) else 503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taken = Receiver(url=f"http://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="receiver")
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
