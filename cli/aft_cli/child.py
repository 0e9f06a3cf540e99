"""One child process that is kept alive: started, watched, started again after it died, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STEADY_AFTER_S = 60.0
TIED = Path(__file__).with_name("tied.py")
"""Runs a command so that even a parent that was killed leaves no child behind."""


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to run, and where its words go."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log_path: Path
    health_url: str


@dataclass(kw_only=True)
class Child:
    """A process started from `spec`; `now_s` is always given by the caller, so that tests need not wait."""

    spec: ChildSpec
    keep_open: Sequence[int] = ()
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _started_s: float = 0.0
    _restart_at_s: float | None = None
    _delay_s: float = field(default=FIRST_DELAY_S)

    @property
    def pid(self) -> int | None:
        """The process id while it lives."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; None while it lives."""
        return self._process.poll() if self._process else None

    def start(self, now_s: float) -> None:
        """Start the process; its output is appended to the log."""
        self.spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                (sys.executable, str(TIED), str(os.getpid()), *self.spec.command),
                env=dict(self.spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own session: Ctrl-C reaches the parent alone, which then stops the children in order.
                start_new_session=True,
                pass_fds=tuple(self.keep_open),
            )
        self._started_s, self._restart_at_s = now_s, None

    def tend(self, now_s: float) -> str | None:
        """Notice a death and start again when it is time; what happened, in words."""
        if self._process is None or self._process.poll() is None:
            return None
        if self._restart_at_s is None:
            if now_s - self._started_s > STEADY_AFTER_S:
                self._delay_s = FIRST_DELAY_S
            self._restart_at_s = now_s + self._delay_s
            words = f"{self.spec.name} ended with {self.exit_code}; starting it again in {self._delay_s:g} s"
            self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
            return words
        if now_s < self._restart_at_s:
            return None
        self.restarts += 1
        self.start(now_s)
        return f"{self.spec.name} started again (restart {self.restarts})"

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and start it no more."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self, grace_s: float) -> None:
        """Wait for the end; after `grace_s` the whole process group is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=max(grace_s, 0.0))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def log_tail(self, lines: int = 12) -> str:
        """The last lines it wrote."""
        if not self.spec.log_path.exists():
            return ""
        return "\n".join(self.spec.log_path.read_text(errors="replace").splitlines()[-lines:])
