"""The worker as the control plane sees it."""

from enum import StrEnum

from pydantic import Field

from .contract import Contract
from .problem import Problem
from .run_spec import RunSpec

PROTOCOL = "v1"
"""Version of the protocol that these contracts spell; another one is another language."""


class WorkerInfo(Contract):
    """Who a worker is and what it runs."""

    worker_id: str
    """Its name, the same after a restart."""
    protocol: str = PROTOCOL
    """Version of the protocol it speaks."""
    platform: str
    """`cpu`, `gpu` or `tpu`."""
    devices: int = Field(ge=1)
    """Accelerator devices it trains on."""
    fsdp: int = Field(default=1, ge=1)
    """Of these, how many share each copy of the parameters."""
    versions: dict[str, str]
    """Versions of aft, jax and the other libraries that decide numbers."""
    slots: int = Field(ge=1)
    """Runs it can hold at once."""
    run_ids: tuple[str, ...] = ()
    """Runs it holds now."""
    fences: dict[str, int] = {}
    """Highest lease token that it has been shown for each run it holds."""
    root_id: str = ""
    """Id of its storage root: workers that show the same one share their files. Empty means that nobody shares it."""


class WorkerState(StrEnum):
    """Whether a worker is given runs."""

    ACTIVE = "active"
    DRAINING = "draining"
    LOST = "lost"
    UNSEEN = "unseen"


class Heartbeat(Contract):
    """A worker's word that it is there; the first one registers it."""

    base_url: str
    """Where the control plane reaches it."""
    info: WorkerInfo
    """Who it is and what it holds."""


class HeartbeatAnswer(Contract):
    """What the worker must let go of."""

    drop: dict[str, int] = {}
    """Lease token by run id, of runs that it holds and that belong to another worker or have ended."""


class WorkerView(Contract):
    """A worker as clients see it."""

    url: str
    """Its base URL."""
    reachable: bool
    """Whether it was heard of lately."""
    state: WorkerState
    """Whether it is given runs; `unseen` is one that the settings name and that never answered."""
    worker_id: str | None = None
    """Its name; null while it was never seen."""
    heartbeat_age_s: float | None = None
    """Seconds since it was last heard of, by the database's clock."""
    run_ids: tuple[str, ...] = ()
    """Runs that are given to it and have not ended; parked ones among them."""
    info: WorkerInfo | None = None
    """What it last said of itself."""


class LoadStatus(StrEnum):
    """Whether a run is ready to train on the worker."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class RunLoad(Contract):
    """A request to hold a run."""

    run_id: str
    """The run."""
    spec: RunSpec
    """Its spec."""


class DomainSize(Contract):
    """How large a training domain turned out to be."""

    rows: int
    """Rows that can be drawn."""
    skipped: int
    """Rows that could not be read and were left out."""
    bad_rows: tuple[str, ...] = ()
    """The first of those: file, line and what is wrong, without their text."""


class LoadedRun(Contract):
    """A run that a worker holds."""

    run_id: str
    """The run."""
    status: LoadStatus
    """Whether it can train."""
    spec_hash: str
    """Digest of its `RunLoad`."""
    trainable_parameters: int | None = None
    """How many numbers are trained."""
    domains: dict[str, DomainSize] = {}
    """Training domains by name."""
    problem: Problem | None = None
    """Why it could not be loaded."""
