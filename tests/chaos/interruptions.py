"""A second run, which people pause and resume: so a window is cancelled, and with that a POST is there to be disturbed.

It has no anomaly in it. Where its windows end depends on when it was paused, what it becomes does not.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.course import submit
from tests.chaos.system import System

PAUSE_EVERY_S = 0.3


@dataclass(kw_only=True)
class Interruptions:
    """What people do to the second run, and to the one after it when it has ended."""

    system: System
    spec: dict[str, Any]
    ended: frozenset[str]
    """Statuses of runs that have ended."""
    run_ids: list[str] = field(default_factory=list)
    _told_s: float = 0.0

    def begin_run(self) -> None:
        """Submit one more."""
        self.run_ids.append(submit(self.system, self.spec, key=f"interrupted-{len(self.run_ids)}"))

    def go_on(self) -> None:
        """Pause a run while a fault waits for a window to be cancelled; resume it where it was paused."""
        wanted = self.system.proxy.waits_for("POST")
        status = self._status()
        if wanted and (status is None or status in self.ended):
            self.begin_run()
        elif status == "paused":
            self._tell("resume")
        elif status == "running" and wanted and time.monotonic() - self._told_s >= PAUSE_EVERY_S:
            self._tell("pause")
            self._told_s = time.monotonic()

    def _status(self) -> str | None:
        """The newest run's; None before there is one, `unknown` while nobody can tell."""
        if not self.run_ids:
            return None
        response = self.system.ask_once("GET", f"/runs/{self.run_ids[-1]}")
        return str(response.json()["status"]) if response is not None and response.status_code == 200 else "unknown"

    def _tell(self, kind: str) -> None:
        response = self.system.ask_once("POST", f"/runs/{self.run_ids[-1]}/commands", json={"kind": kind})
        # 409: it has ended, or was told already.
        assert response is None or response.status_code in {202, 409}, response.text
