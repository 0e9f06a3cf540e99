"""Saver: the one thread of a run that writes checkpoints, beside training."""

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog

from aft_worker.control import Control, WorkerStopping
from aft_worker.errors import WorkerError

log = structlog.get_logger(__name__)

TakenT = TypeVar("TakenT")
DoneT = TypeVar("DoneT")

MOST_IN_FLIGHT = 2
"""One is written and one waits; each holds a copy of the state in memory."""
_LOOK_AGAIN_S = 0.1


class Saver:
    """Does one save after another, in the order they were handed over; handing over a third waits for the first."""

    def __init__(self) -> None:
        self._saves: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._room = threading.BoundedSemaphore(MOST_IN_FLIGHT)
        self._lock = threading.Lock()
        self._in_flight: set[Future[Any]] = set()
        # A daemon: a disk that hangs must not keep a stopped worker alive. What it leaves behind is uncommitted.
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._is_closed = False

    def hand_over(self, take: Callable[[], TakenT], save: Callable[[TakenT], DoneT], control: Control) -> Future[DoneT]:
        """Calls `take` here, once there is room for what it gives, and `save` with that on the saver's own thread.

        Raises:
            WorkerStopping: the work was to stop before there was room, or the saver is closed.
        """
        while not self._room.acquire(timeout=_LOOK_AGAIN_S):
            control.raise_if_stopping()
        try:
            return self._queued(take(), save)
        except BaseException:
            self._room.release()
            raise

    def wait(self) -> None:
        """Returns once nothing is in flight."""
        futures.wait(self._flying())

    def close(self, timeout_s: float | None = None) -> None:
        """Takes no more and finishes what is in flight; what is not begun within `timeout_s` is cancelled."""
        with self._lock:
            self._is_closed = True
        self._saves.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        for future in self._flying():
            future.cancel()

    def _queued(self, taken: TakenT, save: Callable[[TakenT], DoneT]) -> Future[DoneT]:
        future: Future[DoneT] = Future()
        with self._lock:
            if self._is_closed:
                raise WorkerStopping
            self._in_flight.add(future)
            self._saves.put(lambda: self._save(taken, save, future))
            if self._thread.ident is None:
                self._thread.start()
        return future

    def _flying(self) -> set[Future[Any]]:
        with self._lock:
            return set(self._in_flight)

    # From here on the saver's thread is the caller.

    def _work(self) -> None:
        while (save := self._saves.get()) is not None:
            save()
            del save  # It holds a whole state, and the next one may be long in coming.

    def _save(self, taken: TakenT, save: Callable[[TakenT], DoneT], future: Future[DoneT]) -> None:
        outcome: DoneT | Exception | None = None
        if future.set_running_or_notify_cancel():
            try:
                outcome = save(taken)
            except Exception as error:
                # Our own errors explain themselves to whoever waits; any other is a fault to be looked into.
                if not isinstance(error, WorkerError):
                    log.exception("save_failed", error=type(error).__name__)
                outcome = _without_frames(error)
        with self._lock:
            self._in_flight.discard(future)
        self._room.release()
        if future.cancelled():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)  # type: ignore[arg-type]


def _without_frames(error: Exception) -> Exception:
    """The error and its causes without their tracebacks, whose frames would keep the state in memory."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:  # Orbax's errors may be each other's cause
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
