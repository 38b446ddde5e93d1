"""Errors as answers: a status, and JSON for programs or a page for people."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from treadle.errors import (
    InvalidArtefact,
    InvalidItem,
    InvalidTransition,
    ItemConflict,
    ItemNotFound,
    LeaseLost,
    ReviewConflict,
    StageNotFound,
    StoreCorrupt,
    StoreError,
    TreadleError,
)
from treadle.web.context import render
from treadle.web.paths import path_of

log: logging.Logger = logging.getLogger("treadle.web")

_STATUS: dict[type[TreadleError], int] = {
    ItemNotFound: 404,
    StageNotFound: 404,
    ReviewConflict: 409,
    ItemConflict: 409,
    InvalidTransition: 409,
    LeaseLost: 409,
    InvalidArtefact: 422,
    InvalidItem: 422,
    StoreCorrupt: 500,
    StoreError: 503,
    TreadleError: 400,
}


def status_of(error: TreadleError) -> int:
    """The HTTP status that tells of the error."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def wants_json(request: Request) -> bool:
    """Whether a program asks: below ``/api/``, or wherever JSON is asked for by name."""
    return path_of(request.scope).startswith("/api/") or "application/json" in request.headers.get("accept", "")


def answer(request: Request, status: int, detail: str, **more: Any) -> Response:
    """The problem as JSON (RFC 9457), as a line for a part of a page, or as a page."""
    title = HTTPStatus(status).phrase.capitalize()
    headers: dict[str, str] = more.pop("headers", None) or {}
    if wants_json(request):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    template = "part_problem.html" if "hx-request" in request.headers else "problem.html"
    response = render(request, template, status=status, title=title, detail=detail, problems=more.get("problems", []))
    response.headers.update(headers)
    return response


async def _treadle_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TreadleError)  # noqa: S101 - it is registered for these alone
    more = {"problems": error.problems} if isinstance(error, InvalidArtefact) else {}
    return answer(request, status_of(error), str(error), error=type(error).__name__, **more)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    detail = "there is nothing at this address" if error.detail == HTTPStatus.NOT_FOUND.phrase else error.detail
    return answer(request, error.status_code, detail, headers=error.headers)


async def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
    return answer(request, 422, "; ".join(problems), problems=problems)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return answer(request, 500, "this failed in a way nobody foresaw; the server's log has the details")


def register(app: FastAPI) -> None:
    """Errors of ``app`` become answers."""
    app.add_exception_handler(TreadleError, _treadle_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Exception, _unforeseen)
