"""human_review: holds the interrupt, and nothing else: this node runs again from its first line on every resume."""

from langgraph.types import interrupt

from aft_contracts import State


async def human_review(state: State) -> State:
    """The human's decision; the run sleeps here until there is one."""
    return State(decision=interrupt({"kind": "human", "review_id": state["review_id"]}))
