"""The worker as an ASGI application: endpoints, problem documents, and the life of the training thread."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from aft_contracts import Problem
from aft_worker.announcer import Announcer
from aft_worker.door import Door
from aft_worker.endpoints import router
from aft_worker.errors import WorkerError
from aft_worker.problems import problem_of
from aft_worker.settings import WorkerSettings
from aft_worker.trainer import OpenTrainer, load_trainer
from aft_worker.worker import Worker

log = structlog.get_logger(__name__)


def create_app(settings: WorkerSettings, *, open_trainer: OpenTrainer = load_trainer) -> FastAPI:
    """The application of one worker; it trains between its lifespan's start and end."""
    worker = Worker(settings, open_trainer=open_trainer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        announcing = asyncio.create_task(Announcer(worker, settings).run()) if settings.api_urls else None
        if announcing is not None:
            announcing.add_done_callback(_report_broken)
        yield
        if announcing is not None:
            announcing.cancel()
            await asyncio.wait([announcing])
        await run_in_threadpool(worker.stop)

    app = FastAPI(title="aft worker", version="1", lifespan=lifespan)
    app.add_middleware(Door, settings=settings)
    app.state.worker = worker
    app.include_router(router)
    app.add_exception_handler(WorkerError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _failed)
    return app


def _report_broken(announcing: asyncio.Task[None]) -> None:
    if not announcing.cancelled() and (error := announcing.exception()) is not None:
        log.error("announcer_broke", exc_info=error)


async def _refused(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    log.info("request_refused", method=request.method, path=request.url.path, code=problem.code)
    return _answer(problem)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The values themselves are left out: a body may hold what nobody meant to have repeated.
    faults = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
    return _answer(
        Problem(title="The request does not fit the protocol.", status=422, code="invalid_request", detail=faults)
    )


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "not_served"
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _answer(Problem(title="The worker does not serve this.", status=error.status_code, code=code, detail=detail))


async def _failed(request: Request, error: Exception) -> Response:
    log.error("request_failed", method=request.method, path=request.url.path, error=type(error).__name__)
    return _answer(problem_of(error))


def _answer(problem: Problem) -> Response:
    return Response(problem.model_dump_json(), status_code=problem.status, media_type="application/problem+json")
