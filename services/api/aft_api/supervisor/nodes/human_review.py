"""human_review: holds the interrupt, and nothing else: this node runs again from its first line on every resume."""

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from aft_api.reviews.agent_inbox import interrupt_of
from aft_api.reviews.repository import get_review
from aft_api.supervisor.ports import Ports
from aft_contracts import State


async def human_review(state: State, runtime: Runtime[Ports]) -> State:
    """The human's decision; the run sleeps here until there is one. The interrupt has the shape of Agent Inbox."""
    async with runtime.context.store.reads() as session:
        review = await get_review(session, state["review_id"])
    return State(decision=interrupt(interrupt_of(review).model_dump(mode="json")))
