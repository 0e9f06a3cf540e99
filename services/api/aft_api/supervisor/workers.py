"""The workers that this control plane knows, and which of them takes a run."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import httpx

from aft_api.db.engine import Store
from aft_api.errors import AftError
from aft_api.runs.repository import get_run, note_run
from aft_api.supervisor.feeds import Feeds
from aft_api.worker_client import WorkerAnswerInvalid, WorkerClient, WorkerRefused, WorkerUnreachable
from aft_contracts import Checkpoints, DataPreview, PreviewRequest, Problem, RunSpec, WorkerInfo

AnswerT = TypeVar("AnswerT")


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
class Workers:
    """Workers by base URL."""

    store: Store
    http: httpx.AsyncClient
    urls: tuple[str, ...]
    feeds: Feeds

    async def choose(self, run_id: str) -> WorkerClient:
        """The run's worker: the one it had, else the one with most free slots, else the first."""
        async with self.store.reads() as session:
            known = (await get_run(session, run_id)).worker_url
        url = known if known in self.urls else await self._freest()
        if url != known:
            async with self.store.sessions.begin() as session:
                await note_run(session, run_id, worker_url=url)
        return WorkerClient(self.http, url)

    def clients(self, *, first: str | None) -> list[WorkerClient]:
        """All workers, the one at `first` before the others if it is one of them."""
        return [WorkerClient(self.http, url) for url in sorted(self.urls, key=lambda url: url != first)]

    async def look(self) -> dict[str, WorkerInfo | None]:
        """What each worker says of itself; None for one that does not answer."""
        answers = await asyncio.gather(*(self._info(url) for url in self.urls))
        return dict(zip(self.urls, answers, strict=True))

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
                f"Data is read by a worker, and none answers at {', '.join(self.urls)}. "
                "Start one with `aft worker`, or correct AFT_WORKER_URLS."
            )
        return shown

    async def _first_answer(self, ask: Callable[[WorkerClient], Awaitable[AnswerT]]) -> AnswerT | None:
        """What the first worker that answers says; None when none does."""
        for url, info in (await self.look()).items():
            if info is not None:
                try:
                    return await ask(WorkerClient(self.http, url))
                except WorkerRefused as error:
                    raise SpecRefused(error.reported) from error
                except (WorkerUnreachable, WorkerAnswerInvalid):
                    continue
        return None

    async def _freest(self) -> str:
        infos = await self.look()
        free = {url: info.slots - len(info.run_ids) for url, info in infos.items() if info is not None}
        return max(free, key=lambda url: free[url]) if free else self.urls[0]

    async def _info(self, url: str) -> WorkerInfo | None:
        try:
            return await WorkerClient(self.http, url).info()
        except AftError:
            return None
