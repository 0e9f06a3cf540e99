"""What the graph's nodes may touch: stores, clock and worker, handed in through LangGraph's Runtime."""

from dataclasses import dataclass, field

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.runs.repository import get_run
from aft_api.settings import Settings
from aft_api.stop import Stop
from aft_api.supervisor.feeds import Feed
from aft_api.worker_client import WorkerClient
from aft_contracts import Problem, RunSpec


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
    _specs: dict[str, RunSpec] = field(default_factory=dict)

    async def spec(self, run_id: str) -> RunSpec:
        """The run's spec; it never changes, so it is read once a drive."""
        if run_id not in self._specs:
            async with self.store.reads() as session:
                self._specs[run_id] = RunSpec.model_validate((await get_run(session, run_id)).spec)
        return self._specs[run_id]
