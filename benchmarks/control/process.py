"""A process of the benchmark: started, asked whether it is well, measured and ended."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

WELL_WITHIN_S = 60.0


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Process:
    """`python -m module` with a port to listen on."""

    arguments: tuple[str, ...]
    health_path: str
    log: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    _running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return once it answers."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + WELL_WITHIN_S
        while not self._is_well():
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.arguments[0]} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)

    def cpu_s(self) -> float:
        """Processor time it has used so far, in seconds, its threads' and the kernel's for it."""
        times = self._process().cpu_times()
        return float(times.user + times.system)

    def resident_kib(self) -> float:
        """Memory that is resident and its own, in KiB: what would be free without it."""
        return float(self._process().memory_full_info().uss) / 1024

    def kill(self) -> None:
        """kill -9."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self._running is None or self._running.poll() is not None:
            return
        self._running.terminate()
        try:
            self._running.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def _process(self) -> psutil.Process:
        assert self._running is not None, "it was started"
        return psutil.Process(self._running.pid)

    def _is_well(self) -> bool:
        try:
            return httpx.get(self.url + self.health_path, timeout=2).is_success
        except httpx.TransportError:
            return False
