"""TrainingThread: the one thread that touches the devices, and the edge where its failures are caught."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import structlog

from aft_worker.errors import WorkerError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to do, and who to tell when it fails."""

    name: str
    run: Callable[[], None]
    failed: Callable[[Exception], None]


class TrainingThread:
    """Does one task after another, in the order they came."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        # A daemon: a compilation that cannot be interrupted must not keep a stopped worker alive.
        self._thread = threading.Thread(target=self._work, name="training", daemon=True)
        self.is_stopping = False

    @property
    def is_alive(self) -> bool:
        """Whether tasks are being done."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Queues a task."""
        self._tasks.put(task)

    def stop(self, timeout_s: float) -> bool:
        """Asks the running task to stop, drops the waiting ones; whether the thread ended within `timeout_s`."""
        self.is_stopping = True
        self._tasks.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.is_stopping:
                continue
            try:
                task.run()
            except Exception as error:
                # Our own errors explain themselves to whoever asked; any other is a fault that someone must look into.
                if not isinstance(error, WorkerError):
                    log.exception("task_failed", task=task.name, error=type(error).__name__)
                _tell(task, error)


def _tell(task: Task, failure: Exception) -> None:
    """Says that a task failed; the next one is done even if nobody could be told."""
    try:
        task.failed(failure)
    except Exception as error:
        log.exception("task_failure_not_told", task=task.name, error=type(error).__name__)
