"""What the graph's nodes may touch: stores, clock and worker, handed in through LangGraph's Runtime."""

from dataclasses import dataclass

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.settings import Settings
from aft_api.stop import Stop
from aft_api.supervisor.feeds import Feed
from aft_api.worker_client import WorkerClient
from aft_contracts import Problem


class RunFailed(Exception):
    """The run cannot go on; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One driver's tools for one run, with its right to use them."""

    store: Store
    clock: Clock
    settings: Settings
    worker: WorkerClient
    feed: Feed
    """What tells of changes on that worker."""
    fence_token: int
    stop: Stop
