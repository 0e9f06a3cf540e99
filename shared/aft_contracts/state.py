"""State: where the supervisor's loop stands. Plain JSON and small; histories live in tables of their own."""

from typing import Any, TypedDict


class State(TypedDict, total=False):
    """The loop's position. No tensors, no history, no float that may be NaN at the top level."""

    run_id: str
    """The run; also the LangGraph thread."""
    generation: int
    """Generation of the last committed window."""
    step: int
    """Optimizer steps attempted so far."""
    window_index: int
    """Index of the next window."""
    window_id: str
    """The last window."""
    windows_since_evaluation: int
    """Healthy windows since the held-out domains were last scored."""
    verdict: dict[str, Any]
    """`{"healthy": bool, "anomalies": [...]}` of the last window."""
    diagnosis_id: str
    """The last diagnosis."""
    repair: dict[str, Any]
    """The repair the planner chose for it."""
    on_probation: bool
    """Whether a repair has still to prove itself."""
    review_id: str
    """The review that is waited for, or was last answered."""
    decision: dict[str, Any]
    """The last answer."""
    complete: bool
    """Whether the last step has been trained."""
    blocked: bool
    """Whether the last job failed until a human was asked to mend the cause; after the answer it is tried again."""
    outcome: str
    """`succeeded`, `stopped` or empty while the loop goes on."""
