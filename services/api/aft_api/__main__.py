"""`python -m aft_api`: serves the API in the foreground."""

import sys
from typing import TextIO, cast

import structlog
import uvicorn

from aft_api.app import create_app
from aft_api.log_stream import LogStream
from aft_api.settings import Settings


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogStream(sys.stdout))))
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
