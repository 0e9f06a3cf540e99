"""Exports: what other tools read."""

from pydantic import Field

from .contract import Contract
from .schedule import Schedule


class ExportJob(Contract):
    """Which state to write, and in which forms."""

    export_id: str
    """Its id."""
    run_id: str
    """The run it belongs to."""
    schedule: Schedule
    """The run's course."""
    step: int = Field(ge=0)
    """Optimizer steps attempted by the state to write."""
    adapter: bool
    """Whether to write a PEFT adapter directory."""
    merged: bool
    """Whether to write a merged Hugging Face directory."""


class ExportResult(Contract):
    """What was written, and where."""

    export_id: str
    """Its id."""
    adapter_path: str | None = None
    """PEFT adapter directory."""
    merged_path: str | None = None
    """Merged Hugging Face directory."""
    sha256: dict[str, str] = {}
    """Sha256 in hex of each weight file, by path."""
