"""The workers that this control plane knows, and which of them has a run."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.errors import AftError
from aft_api.runs.repository import get_run
from aft_api.supervisor.feeds import Feeds
from aft_api.worker_client import WorkerAnswerInvalid, WorkerClient, WorkerRefused, WorkerUnreachable
from aft_api.workers.errors import WorkerNameTaken
from aft_api.workers.registry import Heard, ages_s, assigned_runs, find_worker, hear, list_workers
from aft_contracts import (
    Checkpoints,
    DataPreview,
    Heartbeat,
    PreviewRequest,
    Problem,
    RunSpec,
    WorkerInfo,
    WorkerState,
    WorkerView,
)

AnswerT = TypeVar("AnswerT")
NOWHERE = "http://127.0.0.1:9"
"""Address of the worker of a run that never had one; nothing listens there."""
ASK_NEXT_AFTER_S = 2.0
"""How long a worker may be silent before another is asked the same, in seconds: nobody waits for one that hangs."""


class SpecRefused(AftError):
    """The worker cannot train what the spec describes."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, reported: Problem) -> None:
        self.reported = reported
        super().__init__(reported.detail, **reported.facts)

    @property
    def problem(self) -> Problem:
        """The worker's own problem: its code says what is wrong."""
        return self.reported.model_copy(update={"status": int(self.status)})


class NoWorkerAnswers(AftError):
    """No worker can be asked."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a run is trained."""

    client: WorkerClient
    worker_id: str | None
    """None while the run waits for a worker: `client` is then the last one that it had."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers that this control plane knows: those that the settings name, and those that have registered."""

    store: Store
    http: aiohttp.ClientSession
    urls: tuple[str, ...]
    """Named by the settings."""
    feeds: Feeds
    clock: Clock

    async def placement(self, run_id: str) -> Placement:
        """The worker that the run was given to."""
        async with self.store.reads() as session:
            run = await get_run(session, run_id)
            worker = None if run.worker_id is None else await find_worker(session, run.worker_id)
        if worker is None:
            return Placement(client=WorkerClient(self.http, run.worker_url or NOWHERE), worker_id=None)
        return Placement(client=WorkerClient(self.http, worker.base_url), worker_id=worker.worker_id)

    async def clients(self, *, first: str | None) -> list[WorkerClient]:
        """All workers that are not lost, the one at `first` before the others."""
        urls = await self._known_urls()
        return [WorkerClient(self.http, url) for url in sorted(urls, key=lambda url: url != first)]

    async def hear(self, beat: Heartbeat) -> Heard:
        """Note a heartbeat; what the worker must let go of.

        Raises:
            WorkerNameTaken: another worker of the same name answers at another address.
        """
        await self._refuse_taken_name(beat)
        async with self.store.sessions.begin() as session:
            return await hear(session, self.store, beat, self.clock)

    async def views(self) -> list[WorkerView]:
        """All workers: those that have registered, then those that the settings name and that never answered."""
        async with self.store.reads() as session:
            rows = await list_workers(session)
            runs, ages = await assigned_runs(session), await ages_s(session, self.store)
        seen = [
            WorkerView(
                url=row.base_url,
                reachable=not row.is_lost,
                state=_state(is_lost=row.is_lost, is_draining=row.is_draining),
                worker_id=row.worker_id,
                heartbeat_age_s=round(ages.get(row.worker_id, 0.0), 1),
                run_ids=tuple(runs.get(row.worker_id, ())),
                info=WorkerInfo.model_validate(row.info),
            )
            for row in rows
        ]
        unseen = [url for url in self.urls if url.rstrip("/") not in {view.url for view in seen}]
        return [*seen, *(WorkerView(url=url, reachable=False, state=WorkerState.UNSEEN) for url in unseen)]

    async def checkpoints(self, run_id: str, *, verify: bool) -> Checkpoints:
        """The run's checkpoints, as the worker that trains it finds them; none before it was first given to one.

        Raises:
            RunNotFound: there is no such run.
            WorkerUnreachable, WorkerRefused, WorkerAnswerInvalid: the worker cannot tell.
        """
        async with self.store.reads() as session:
            url = (await get_run(session, run_id)).worker_url
        if url is None:
            return Checkpoints(checkpoints=())
        try:
            return await WorkerClient(self.http, url).checkpoints(run_id, verify=verify)
        except WorkerRefused as error:
            if error.reported.code == "run_unknown":
                return Checkpoints(checkpoints=())
            raise

    async def check(self, spec: RunSpec) -> None:
        """Let a worker look at a spec before it is accepted; when none answers, the run's load will tell.

        Raises:
            SpecRefused: the model or the data cannot be read.
        """
        await self._first_answer(lambda worker: worker.check(spec))

    async def preview(self, request: PreviewRequest) -> DataPreview:
        """Rows as a worker sees them.

        Raises:
            SpecRefused: the tokenizer or the data cannot be read.
            NoWorkerAnswers: there is nobody to read them.
        """
        shown = await self._first_answer(lambda worker: worker.preview(request))
        if shown is None:
            raise NoWorkerAnswers(
                f"Data is read by a worker, and none answers{_at(self.urls)}. "
                "Start one with `aft worker`, or correct AFT_WORKER_URLS."
            )
        return shown

    async def _first_answer(self, ask: Callable[[WorkerClient], Coroutine[Any, Any, AnswerT]]) -> AnswerT | None:
        """What the first worker that answers says; None when none does. While one is silent the next is asked too."""
        left, asked = await self.clients(first=None), set[asyncio.Task[AnswerT]]()
        try:
            while left or asked:
                if left:
                    asked.add(asyncio.create_task(ask(left.pop(0))))
                done, asked = await asyncio.wait(
                    asked, timeout=ASK_NEXT_AFTER_S if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    try:
                        return task.result()
                    except WorkerRefused as error:
                        raise SpecRefused(error.reported) from error
                    except (WorkerUnreachable, WorkerAnswerInvalid):
                        continue
            return None
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _known_urls(self) -> list[str]:
        async with self.store.reads() as session:
            rows = await list_workers(session)
        lost = {row.base_url for row in rows if row.is_lost}
        present = [row.base_url for row in rows if not row.is_lost]
        named = [url.rstrip("/") for url in self.urls]
        return list(dict.fromkeys([*present, *(url for url in named if url not in lost)]))

    async def _refuse_taken_name(self, beat: Heartbeat) -> None:
        worker_id, url = beat.info.worker_id, beat.base_url.rstrip("/")
        async with self.store.reads() as session:
            known = await find_worker(session, worker_id)
        if known is None or known.base_url == url:
            return
        try:
            other = await WorkerClient(self.http, known.base_url).info()
        except AftError:
            return  # it has moved: whoever was there is gone
        if other.worker_id == worker_id:
            raise WorkerNameTaken(worker_id, url=url, other_url=known.base_url)


def _state(*, is_lost: bool, is_draining: bool) -> WorkerState:
    if is_lost:
        return WorkerState.LOST
    return WorkerState.DRAINING if is_draining else WorkerState.ACTIVE


def _at(urls: tuple[str, ...]) -> str:
    return f" at {', '.join(urls)}" if urls else ""
