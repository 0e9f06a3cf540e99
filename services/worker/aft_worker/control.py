"""How work in progress hears that it should stop, and tells how far it is."""

from typing import Protocol

from aft_contracts import StepRecord


class WorkerStopping(Exception):
    """The worker shuts down: the work is dropped here and trained again, bit-identically, after the restart."""


class Control(Protocol):
    """What running work is given to listen to and to report to."""

    def is_cancelled(self) -> bool:
        """Whether to stop after the current step and keep what was done."""

    def raise_if_stopping(self) -> None:
        """Raises WorkerStopping once the process is to end."""

    def step_finished(self, record: StepRecord) -> None:
        """Reports a step."""

    def trained(self) -> None:
        """Reports that every step is done and only the commit is left."""


class Unattended:
    """A control that nobody is at: never stops anything, hears nothing."""

    def is_cancelled(self) -> bool:
        """False."""
        return False

    def raise_if_stopping(self) -> None:
        """Does nothing."""

    def step_finished(self, record: StepRecord) -> None:
        """Does nothing."""

    def trained(self) -> None:
        """Does nothing."""
