"""`python -m aft_api`: serves the API in the foreground."""

import asyncio
import gc
import logging
import math
import socket
import sys
from typing import TextIO, cast

import structlog
import uvicorn

from aft_api.access.local import NoAuthentication, refuse_open_door
from aft_api.app import create_app
from aft_api.log_stream import LogStream
from aft_api.redact import RedactedFormatter, Redactor, secrets_in
from aft_api.settings import Settings
from aft_api.stop import Stop


class _Server(uvicorn.Server):
    """Asks for the stop when the signal comes. The lifespan hears of it only when the last client has gone."""

    def __init__(self, config: uvicorn.Config, stop: Stop) -> None:
        super().__init__(config)
        self._stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop.ask()
        await super().shutdown(sockets)


def _collect_seldom() -> None:
    """Have cyclic garbage looked for seldom: a thousand runs are a million objects to look through."""
    gc.collect()
    gc.freeze()  # modules and classes stay until the end
    gc.set_threshold(20_000, 20, 50)


def write_logs(settings: Settings) -> None:
    """Log to standard output, whoever logs, and no secrets."""
    redactor, stream = Redactor(secrets_in(settings)), LogStream(sys.stdout)
    handler = logging.StreamHandler(cast(TextIO, stream))
    handler.setFormatter(RedactedFormatter(redactor))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # The plain form of a traceback: the default one prints every local variable, and with them secrets.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
            redactor,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
    )


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    settings, stop = Settings(), Stop()
    write_logs(settings)
    try:
        asyncio.run(refuse_open_door(settings))
    except NoAuthentication as error:
        sys.exit(str(error))
    _collect_seldom()
    server = _Server(
        uvicorn.Config(
            create_app(settings, stop=stop),
            host=settings.host,
            port=settings.port,
            log_config=None,  # its own would print an error's trace as it is
            log_level="warning",
            timeout_graceful_shutdown=math.ceil(settings.drain_s),
        ),
        stop,
    )
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
