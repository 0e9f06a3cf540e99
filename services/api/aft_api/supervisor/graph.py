"""The loop as a LangGraph graph: seven nodes whose names are persisted."""

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from aft_api.supervisor.nodes.curriculum import curriculum
from aft_api.supervisor.nodes.finish import finish
from aft_api.supervisor.nodes.forensic import forensic
from aft_api.supervisor.nodes.human_review import human_review
from aft_api.supervisor.nodes.monitor import monitor
from aft_api.supervisor.nodes.planner import planner
from aft_api.supervisor.nodes.train import train
from aft_api.supervisor.ports import Ports
from aft_contracts import RepairKind, State

# The edges' functions wait for nothing. They are async because LangGraph sends plain ones to a thread, and the way
# there and back costs as much as a statement to the store, three times a cycle.

REPEATABLE = ("monitor", "curriculum")
"""Nodes before which the loop need not be kept: after a crash there it goes on from before `train`, which finds its
window in the store, and all three give the same again. Two of three checkpoints of a healthy cycle are spared."""

Loop = CompiledStateGraph[State, Ports, State, State]


def build_loop(saver: BaseCheckpointSaver[str]) -> Loop:
    """The compiled loop. It stops before each `train`, so that one invocation is one cycle."""
    graph = StateGraph(State, context_schema=Ports)
    graph.add_node("train", train)
    graph.add_node("monitor", monitor)
    graph.add_node("forensic", forensic)
    graph.add_node("planner", planner)
    graph.add_node("human_review", human_review)
    graph.add_node("curriculum", curriculum)
    graph.add_node("finish", finish)
    graph.add_edge(START, "train")
    graph.add_conditional_edges("train", after_train, ["monitor", "human_review"])
    graph.add_conditional_edges("monitor", after_monitor, ["forensic", "curriculum"])
    graph.add_edge("forensic", "planner")
    graph.add_conditional_edges("planner", after_planner, ["human_review", "train"])
    graph.add_conditional_edges("human_review", after_human_review, ["train", "finish"])
    graph.add_conditional_edges("curriculum", after_curriculum, ["train", "finish", "forensic"])
    graph.add_conditional_edges("finish", after_finish, ["human_review", END])
    return graph.compile(checkpointer=saver, interrupt_before=["train"])


async def after_train(state: State) -> str:
    """A window that could not be committed waits for a human, every other one is judged."""
    return "human_review" if state.get("blocked") else "monitor"


async def after_monitor(state: State) -> str:
    """Healthy windows go on to the curriculum, the others are looked into."""
    return "curriculum" if state["verdict"]["healthy"] else "forensic"


async def after_planner(state: State) -> str:
    """A repair is trained on; an escalation waits for a human."""
    return "human_review" if state["repair"]["kind"] == RepairKind.ESCALATE else "train"


async def after_human_review(state: State) -> str:
    """Training goes on with what was decided, unless the run was stopped."""
    return "finish" if state.get("outcome") else "train"


async def after_curriculum(state: State) -> str:
    """The next window, until the last step is trained or the run is stopped; a score that fell is looked into."""
    if state.get("outcome"):
        return "finish"  # from anywhere: a run that is stopped in its first window has no verdict yet
    if not state["verdict"]["healthy"]:
        return "forensic"
    return "finish" if state.get("complete") else "train"


async def after_finish(state: State) -> str:
    """The end, unless what was trained could not be exported."""
    return "human_review" if state.get("blocked") else END
