"""The worker process."""

import signal
import sys
from types import FrameType
from typing import TextIO, cast

import structlog
import uvicorn

from aft_worker.devices import enable_compilation_cache
from aft_worker.door import NoAuthentication, refuse_open_door
from aft_worker.log_stream import LogStream
from aft_worker.model.errors import FsdpDoesNotDivide
from aft_worker.model.mesh import make_mesh
from aft_worker.redact import Redactor
from aft_worker.server import create_app
from aft_worker.settings import WorkerSettings


def serve(settings: WorkerSettings) -> None:
    """Serves until SIGTERM or SIGINT; the running step is finished, its window is trained again after a restart."""
    try:
        refuse_open_door(settings)
        make_mesh(fsdp=settings.fsdp)
    except (FsdpDoesNotDivide, NoAuthentication) as error:
        sys.exit(str(error))  # Now, rather than as the problem of every run.
    _write_logs_as_json(settings)
    enable_compilation_cache(settings.compilation_cache)
    # uvicorn repeats the signal once it has shut down; without this it would end the process as if killed.
    signal.signal(signal.SIGTERM, _exit)
    app = create_app(settings)
    config = uvicorn.Config(app, host=settings.host, port=settings.port, log_config=None, access_log=False)
    server = _Server(config)
    server.run()
    if not server.started:
        sys.exit(1)


class _Server(uvicorn.Server):
    """Lets long polls go before it waits for connections to end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs on the first signal."""
        self.config.app.state.worker.bell.silence()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def _exit(_: int, __: FrameType | None) -> None:
    sys.exit(0)


def _write_logs_as_json(settings: WorkerSettings) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            Redactor(settings),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogStream(sys.stderr))),
    )
