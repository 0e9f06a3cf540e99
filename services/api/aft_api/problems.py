"""Every error leaves the API as problem+json with a stable code."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from aft_api.db.engine import STORE_ERRORS
from aft_api.errors import AftError
from aft_contracts import Problem

log = structlog.get_logger()
_HTTP_CODES = {404: "route_not_found", 405: "method_not_allowed", 413: "body_too_large"}


def install_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer errors with problem documents."""
    app.add_exception_handler(AftError, _on_aft_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    for kind in STORE_ERRORS:
        app.add_exception_handler(kind, _on_store_error)
    app.add_exception_handler(IntegrityError, _on_conflict)


def answer(problem: Problem) -> Response:
    """The HTTP response that carries a problem."""
    return Response(problem.model_dump_json(), status_code=problem.status, media_type="application/problem+json")


def answer_to_error(path: str, error: Exception) -> Response:
    """The answer where an error has come through everything; the log has its trace."""
    if isinstance(error, STORE_ERRORS):
        return _store_away(path, error)
    log.error("request_failed", path=path, exc_info=error)
    return answer(
        Problem(
            title="The API met an error it does not know.",
            status=500,
            code="internal_error",
            detail=f"{type(error).__name__}. The API's log has the trace.",
        )
    )


async def _on_aft_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AftError)
    return answer(error.problem)


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": ".".join(str(part) for part in found["loc"][1:]) or "body", "problem": found["msg"]}
        | ({"given": found["input"]} if _is_small(found.get("input")) else {})
        for found in error.errors()
    ]
    return answer(
        Problem(
            title="The request is not what this endpoint takes.",
            status=422,
            code="validation_failed",
            detail="; ".join(f"{entry['field']}: {entry['problem']}" for entry in fields[:10]),
            facts={"fields": fields[:50]},
        )
    )


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer(
        Problem(
            title=str(error.detail),
            status=error.status_code,
            code=_HTTP_CODES.get(error.status_code, "http_error"),
            detail=f"{request.method} {request.url.path}: {error.detail}. The API's routes are listed at /docs.",
        )
    )


async def _on_store_error(request: Request, error: Exception) -> Response:
    return _store_away(request.url.path, error)


def _store_away(path: str, error: Exception) -> Response:
    log.error("store_failed", path=path, error=f"{type(error).__name__}: {error}")
    return answer(
        Problem(
            title="The store does not answer.",
            status=503,
            code="store_unavailable",
            detail="The database did not answer; nothing was changed. Try again in a moment.",
        )
    )


async def _on_conflict(request: Request, error: Exception) -> Response:
    log.error("store_refused", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return answer(
        Problem(
            title="Another request wrote the same thing at the same moment.",
            status=409,
            code="store_conflict",
            detail="The database refused what contradicts it; nothing was changed. Ask again.",
        )
    )


def _is_small(value: object) -> bool:
    return isinstance(value, int | float | bool) or (isinstance(value, str) and len(value) <= 200)
