"""What the graph's nodes may touch: stores, clock and worker, handed in through LangGraph's Runtime."""

from dataclasses import dataclass, field

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.runs.repository import get_run
from aft_api.runs.windows import get_window_spec
from aft_api.settings import Settings
from aft_api.stop import Stop
from aft_api.supervisor.feeds import Feed
from aft_api.supervisor.turns import Turn
from aft_api.worker_client import WorkerClient
from aft_contracts import Problem, RunSpec, WindowSpec


class RunFailed(Exception):
    """The run cannot go on; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


@dataclass(kw_only=True)
class Known:
    """What a drive has found out about its run, and need not ask again."""

    spec: RunSpec | None = None
    """The run's spec, which never changes."""
    window: WindowSpec | None = None
    """The window that it planned last."""
    is_loaded: bool = False
    """Whether the worker held the run when it last answered."""
    is_clear: bool = False
    """Whether the run's row says nothing of a worker that does not answer."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One driver's tools for one run, with its right to use them."""

    store: Store
    clock: Clock
    settings: Settings
    worker: WorkerClient
    worker_id: str | None
    """Its name; None while the run waits for a worker, and `worker` is the last one that it had."""
    feed: Feed
    """What tells of changes on that worker."""
    turn: Turn
    """Held while the drive is at work, and by others while it waits."""
    fence_token: int
    stop: Stop
    known: Known = field(default_factory=Known)

    async def spec(self, run_id: str) -> RunSpec:
        """The run's spec."""
        if self.known.spec is None:
            async with self.store.reads() as session:
                self.known.spec = RunSpec.model_validate((await get_run(session, run_id)).spec)
        return self.known.spec

    async def window(self, window_id: str) -> WindowSpec:
        """What the window, which must have been intended, was to train."""
        known = self.known.window
        if known is not None and known.window_id == window_id:
            return known
        async with self.store.reads() as session:
            return await get_window_spec(session, window_id)
