"""Commits: the windows of one session on their way to disk, in order, and none past one that did not get there."""

from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from threading import Lock
from typing import Any, TypeVar

from aft_contracts import WindowResult, WindowSpec
from aft_worker.checkpoint.saver import Saver
from aft_worker.control import Control, Unattended
from aft_worker.course import is_ancestor
from aft_worker.errors import WorkerError

TakenT = TypeVar("TakenT")
SavedT = TypeVar("SavedT")


class EarlierWindowNotCommitted(WorkerError):
    """A window would be committed while steps before it are not."""

    status = HTTPStatus.CONFLICT


class Commits:
    """Lets training run ahead of the disk, but never the disk ahead of itself.

    A gap is a place, (generation, step), from which on steps were asked for and are not committed. It is closed by
    committing a window that covers it. Gaps live in memory: after a restart the windows are put again in order anyway.
    """

    def __init__(self) -> None:
        self._saver = Saver()
        self._lock = Lock()
        self._under_way: dict[str, Future[WindowResult]] = {}
        self._gaps: set[tuple[int, int]] = set()
        self._has_failed = False

    def under_way(self, window_id: str) -> Future[WindowResult] | None:
        """A window that is trained and being saved."""
        with self._lock:
            return self._under_way.get(window_id)

    def took_failure(self) -> bool:
        """Whether a save has failed since this was last asked."""
        with self._lock:
            has_failed, self._has_failed = self._has_failed, False
            return has_failed

    def refuse_gap(self, spec: WindowSpec) -> None:
        """Raises EarlierWindowNotCommitted when there is a gap on the way to the window's first step."""
        with self._lock:
            gaps = [gap for gap in self._gaps if is_ancestor(gap[0], gap[1] + 1, spec.schedule, spec.start_step)]
        if gaps:
            generation, step = min(gaps)
            raise EarlierWindowNotCommitted(
                f"Window {spec.window_id} begins at step {spec.start_step}, but the steps from {step} on of generation "
                f"{generation} are not committed; put the window that begins there first.",
                generation=generation,
                step=step,
            )

    def leave_gap(self, generation: int, step: int) -> None:
        """Notes that the steps from `step` on were asked for and are not done."""
        with self._lock:
            self._gaps.add((generation, step))

    def note_committed(self, result: WindowResult, generation: int) -> None:
        """Notes that the steps of a window are on disk."""
        with self._lock:
            self._gaps = {
                (at, step)
                for at, step in self._gaps
                if not (at == generation and result.start_step <= step < result.end_step)
            }

    def hand_over(
        self,
        spec: WindowSpec,
        take: Callable[[], TakenT],
        save: Callable[[TakenT], WindowResult],
        control: Control,
    ) -> Future[WindowResult]:
        """Takes a copy of the trained state here, and saves it on the saver's thread once all before it are saved."""
        self.refuse_gap(spec)
        future = self._saver.hand_over(take, lambda taken: self._saved(spec, lambda: save(taken)), control)
        with self._lock:
            self._under_way[spec.window_id] = future
        future.add_done_callback(lambda done: self._forget(spec.window_id, done))
        return future

    def hand_over_first(self, take: Callable[[], TakenT], save: Callable[[TakenT], SavedT]) -> Future[SavedT]:
        """Has the state before the first step saved, which no window asks for; before any that is handed over later."""
        future = self._saver.hand_over(take, save, Unattended())
        future.add_done_callback(self._note_failure)
        return future

    def wait(self) -> None:
        """Returns once nothing is being saved."""
        self._saver.wait()

    def close(self, timeout_s: float | None = None) -> None:
        """Finishes the saves in flight; those not begun within `timeout_s` are cancelled and stay uncommitted."""
        self._saver.close(timeout_s)

    def _saved(self, spec: WindowSpec, save: Callable[[], WindowResult]) -> WindowResult:
        try:
            self.refuse_gap(spec)
            result = save()
        except BaseException:
            with self._lock:
                self._has_failed = True
                self._gaps.add((spec.generation, spec.start_step))
            raise
        self.note_committed(result, spec.generation)
        return result

    def _note_failure(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is not None:
            with self._lock:
                self._has_failed = True

    def _forget(self, window_id: str, future: Future[WindowResult]) -> None:
        with self._lock:
            if self._under_way.get(window_id) is future:
                del self._under_way[window_id]
