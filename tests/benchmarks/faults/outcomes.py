"""An outcome to begin with."""

from typing import Any

from benchmarks.faults.outcome import Alarm, Finding, Outcome


def outcome(**changes: Any) -> Outcome:
    """A run of seed 0 whose garbage row at step 100 was found after its window, diagnosed and healed."""
    facts: dict[str, Any] = {
        "system": "aft", "case": "garbage_tokens", "seed": 0, "version": "v", "steps": 240, "armed_steps": 176,
        "first_step": 100, "harmed_after": 100, "armed_before": 36, "verdict": "data", "culprits": ("x",),
        "alarms": (Alarm(step=100, after=110, kind="sample_outlier"),), "loss": 3.5,
        "findings": (Finding(verdict="data", first_step=100, last_step=100, culprits=("x",)),),
    }  # fmt: skip
    return Outcome(**facts | changes)
