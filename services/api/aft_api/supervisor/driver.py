"""The driver: takes one run through the loop, cycle by cycle, until it ends, parks or is handed over."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command as Continue
from langgraph.types import StateSnapshot
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.artifacts import Artifacts
from aft_api.db.engine import STORE_ERRORS, is_away
from aft_api.db.fence import LeaseLost
from aft_api.db.tables import RunRow, WindowRow
from aft_api.reviews.repository import get_review
from aft_api.runs.commands import goes_on, pending_commands, settle_command
from aft_api.runs.events import record
from aft_api.runs.leases import park_run
from aft_api.runs.repository import get_run, move_run, note_run
from aft_api.runs.schedules import latest_schedule
from aft_api.runs.windows import get_window
from aft_api.stop import Stopped
from aft_api.supervisor.ending import end_run
from aft_api.supervisor.graph import Loop
from aft_api.supervisor.nodes.train import end_window
from aft_api.supervisor.planning import place_of
from aft_api.supervisor.ports import Ports, RunFailed
from aft_api.supervisor.saver import Saver
from aft_api.worker_client import WorkerFailure
from aft_api.workers.queue import leave_for_queue
from aft_contracts import (
    ENDED,
    FINISHED,
    EventKind,
    JobStatus,
    Pause,
    Problem,
    Resume,
    ReviewStatus,
    RunStatus,
    State,
    Stop,
    WindowResult,
    WindowSpec,
)

log = structlog.get_logger()
PRUNE_EVERY = 24
"""Cycles between two prunes of a run's checkpoints, which are a kilobyte or so a healthy cycle."""
MOST_TRIES = 3
"""Unexpected errors in a row before a run is given up."""


class Stance(Enum):
    """What the commands so far ask of the driver."""

    GO = auto()
    HOLD = auto()
    STOP = auto()
    ENDED = auto()


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What the commands so far ask, and where the run's row stood when they were read."""

    stance: Stance
    status: RunStatus
    wake_count: int
    worker_id: str | None
    review_id: str | None


@dataclass(kw_only=True)
class Driver:
    """Drives one run under one lease."""

    loop: Loop
    saver: Saver
    ports: Ports
    artifacts: Artifacts
    run_id: str
    _cycles: int = 0
    _awaits_train: bool = False
    """Whether the last invocation of this drive left the loop before `train`: then its checkpoint need not be asked."""

    @property
    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.run_id}, "metadata": {"graph_version": 1}}

    async def drive(self) -> None:
        """Go on until the run ends or waits for somebody, or the process is to end; errors become facts of the run.

        Raises:
            LeaseLost: another process drives it now.
            Stopped: the process is to end; what the run waits for goes on without it.
            STORE_ERRORS: the store is away; the run is as it was.
        """
        try:
            await self._go_on()
            await self._write_artifacts()
        finally:
            self.artifacts.forget(self.run_id)

    async def _go_on(self) -> None:
        tries = 0
        while not self.ports.stop.is_asked:
            try:
                async with self.ports.turn:
                    if not await self._advance():
                        return
                tries = 0
            except (LeaseLost, Stopped, ValidationError):
                raise  # what the store holds may be of another version of aft: no reason to fail the run for good
            except RunFailed as failure:
                await self._fail(failure.problem)
                return
            except Exception as error:
                if is_away(error):
                    raise
                tries += 1
                log.exception("cycle_failed", run_id=self.run_id, attempt=tries)
                if tries >= MOST_TRIES:
                    await self._fail(_internal_problem(error))
                    return
                await asyncio.sleep(self.ports.settings.retry_s)

    async def _advance(self) -> bool:
        """One cycle; False when there is nothing more to do for now."""
        if self._awaits_train and await self._is_undisturbed():
            await self._invoke(None)
            return True
        controls = await self._settle_controls()
        stance = controls.stance
        if stance is Stance.ENDED:
            return False
        if stance is Stance.HOLD:
            return not await self._park(controls.wake_count)
        if stance is Stance.GO and (self.ports.worker_id is None or controls.worker_id != self.ports.worker_id):
            return await self._leave(controls)
        if stance is Stance.GO and self._awaits_train:
            await self._go(controls)
            return True
        snapshot = await self.loop.aget_state(self._config)
        if stance is Stance.STOP:
            return await self._stop(snapshot)
        if snapshot.created_at is None:
            await self._move(RunStatus.RUNNING, EventKind.RUN_STARTED, "The run began.", key="started")
            await self._invoke(State(run_id=self.run_id))
            return True
        if not snapshot.tasks:
            return await self._ended(snapshot)
        if snapshot.interrupts:
            answer = await self._answer(snapshot)
            if answer is None:
                await self._move(RunStatus.WAITING)
                return not await self._park(controls.wake_count)
            await self._move(RunStatus.RUNNING, review_id=None)
            await self._invoke(Continue(resume={snapshot.interrupts[0].id: answer}))
            return True
        await self._go(controls)
        return True

    async def _go(self, controls: Controls) -> None:
        if controls.status is not RunStatus.RUNNING:
            await self._move(RunStatus.RUNNING)
        await self._invoke(None)

    async def _invoke(self, given: State | Continue[Any] | None) -> None:
        self._awaits_train = False
        left = await self.loop.ainvoke(given, self._config, context=self.ports, durability="sync")
        self._awaits_train = not left.get("__interrupt__") and not left.get("outcome")
        self._cycles += 1
        if self._cycles % PRUNE_EVERY == 0 or not self._awaits_train:
            await self.saver.forget_past(self.run_id)
        await self._write_artifacts()

    async def _write_artifacts(self) -> None:
        try:
            await self.artifacts.write(self.run_id)
        except OSError:
            log.exception(
                "artifacts_not_written", run_id=self.run_id
            )  # the store has it all; the next cycle tries again

    async def _is_undisturbed(self) -> bool:
        async with self.ports.store.reads() as session:
            return await goes_on(session, self.run_id, self.ports.fence_token, worker_id=self.ports.worker_id)

    async def _settle_controls(self) -> Controls:
        """Carry out pauses, resumes and stops in the order they came; what they add up to."""
        async with self.ports.store.sessions.begin() as session:
            run = await get_run(session, self.run_id, for_update=True)
            status = RunStatus(run.status)
            stance = Stance.ENDED if status in FINISHED else await self._carry_out(session, run)
            return Controls(
                stance=stance,
                status=RunStatus(run.status),
                wake_count=run.wake_count,
                worker_id=run.worker_id,
                review_id=run.review_id,
            )

    async def _carry_out(self, session: AsyncSession, run: RunRow) -> Stance:
        stance = Stance.HOLD if run.status == RunStatus.PAUSED else Stance.GO
        for told in await pending_commands(session, self.run_id):
            match told.command:
                case Pause():
                    stance, kind, outcome = Stance.HOLD, EventKind.RUN_PAUSED, f"holds at step {run.step}"
                    await move_run(session, self.run_id, RunStatus.PAUSED, self.ports.clock)
                case Resume(review_id=None):
                    stance, kind, outcome = Stance.GO, EventKind.RUN_RESUMED, f"goes on from step {run.step}"
                    if run.status == RunStatus.PAUSED:
                        await move_run(session, self.run_id, RunStatus.RUNNING, self.ports.clock)
                case Stop():
                    return Stance.STOP
                case _:
                    continue
            await settle_command(session, told, outcome, step=run.step, clock=self.ports.clock)
            await record(
                session, self.run_id, kind, f"{told.given_by}: {told.command.kind}, {outcome}.",
                key=told.command_id, clock=self.ports.clock, step=run.step,
            )  # fmt: skip
        return stance

    async def _stop(self, snapshot: StateSnapshot) -> bool:
        """Send the loop to its end, from wherever it stands, before an export that has not come to its end too."""
        if snapshot.created_at is None:
            await end_run(self.ports, self.run_id, RunStatus.STOPPED)
            return False
        if snapshot.values.get("outcome") != RunStatus.STOPPED:
            stands = await self._stands(cast("State", snapshot.values))
            ends = stands | {"outcome": RunStatus.STOPPED.value}
            await self.loop.aupdate_state(self._config, ends, as_node="curriculum")
        await self._invoke(None)
        return False

    async def _stands(self, state: State) -> dict[str, Any]:
        """Where the run stands, with a window that the loop was cut off in, or behind before it kept it."""
        async with self.ports.store.reads() as session:
            place = place_of(state, await latest_schedule(session, self.run_id))
            window = await get_window(session, place.window_id(self.run_id))
        ended = None if window is None else await self._ended_window(window)
        if ended is None:
            return {}
        return {"generation": place.generation, "step": ended.end_step, "window_index": place.index + 1}

    async def _ended_window(self, window: WindowRow) -> WindowResult | None:
        if window.status == JobStatus.COMMITTED:
            return WindowResult.model_validate(window.result)
        if window.status in ENDED:
            return None
        # An export would queue behind it, until the patience with a stopped run is over.
        has_begun = window.status != JobStatus.ACCEPTED
        return await end_window(self.ports, WindowSpec.model_validate(window.spec), has_begun=has_begun)

    async def _answer(self, snapshot: StateSnapshot) -> dict[str, Any] | None:
        async with self.ports.store.reads() as session:
            review = await get_review(session, snapshot.interrupts[0].value["review_id"])
        if review.status is ReviewStatus.OPEN or review.decision is None:
            return None
        return review.decision.model_dump(mode="json")

    async def _ended(self, snapshot: StateSnapshot) -> bool:
        """No task is left: either the run is done, or its graph has changed under it."""
        async with self.ports.store.reads() as session:
            status = RunStatus((await get_run(session, self.run_id)).status)
        if status not in FINISHED:
            raise RunFailed(_stuck_problem(snapshot))
        return False

    async def _park(self, wake_count: int) -> bool:
        return await park_run(self.ports.store, self.run_id, self.ports.fence_token, wake_count=wake_count)

    async def _leave(self, controls: Controls) -> bool:
        """Leave the worker, or the lack of one: for the queue, or for the worker that the run was given to meanwhile.

        A run that still waits for its answer needs no worker.
        """
        if self.ports.worker_id is None and controls.review_id is not None and await self._is_open(controls.review_id):
            return not await self._park(controls.wake_count)
        if self.ports.worker_id is not None:
            await self._let_go()
        async with self.ports.store.sessions.begin() as session:
            run = await get_run(session, self.run_id, for_update=True)
            leave_for_queue(run, wake_count=controls.wake_count, clock=self.ports.clock)
        return False

    async def _let_go(self) -> None:
        try:
            await self.ports.worker.release(self.run_id, self.ports.fence_token)
        except WorkerFailure:
            return  # its next heartbeat is answered with what it must drop

    async def _is_open(self, review_id: str) -> bool:
        async with self.ports.store.reads() as session:
            return (await get_review(session, review_id)).status is ReviewStatus.OPEN

    async def _move(
        self, to: RunStatus, kind: EventKind | None = None, message: str = "", *, key: str = "", **facts: Any
    ) -> None:
        async with self.ports.store.sessions.begin() as session:
            run = await get_run(session, self.run_id, for_update=True)
            if run.status != to:
                await move_run(session, self.run_id, to, self.ports.clock, **facts)
            elif facts:
                await note_run(session, self.run_id, **facts)
            if kind is not None:
                await record(session, self.run_id, kind, message, key=key, clock=self.ports.clock, step=run.step)

    async def _fail(self, problem: Problem) -> None:
        log.error("run_failed", run_id=self.run_id, code=problem.code, detail=problem.detail)
        await end_run(self.ports, self.run_id, RunStatus.FAILED, problem=problem)


def _internal_problem(error: Exception) -> Problem:
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    if isinstance(error, STORE_ERRORS):  # whoever raised it, SQLAlchemy or LangGraph's saver: not the row it was about
        said = said.partition("\n")[0]
    return Problem(
        title="The supervisor met an error it does not know.",
        status=500,
        code="internal_error",
        detail=f"{type(error).__name__}: {said}. The API's log has the trace; what was trained is kept.",
    )


def _stuck_problem(snapshot: StateSnapshot) -> Problem:
    return Problem(
        title="The loop has no next node.",
        status=500,
        code="loop_stuck",
        detail=(
            f"The run's checkpoint has nothing left to do although the run has not ended "
            f"(state: {sorted(snapshot.values)}). Was a node of the graph renamed since?"
        ),
    )
