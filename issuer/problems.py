"""Errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from issuer.authorize import RefusedError
from issuer.service import failure_code
from lading.errors import IntegrityError, LadingError, TransferError

MEDIA_TYPE = "application/problem+json"

_RETRY_AFTER_SECONDS = 5
_log = logging.getLogger("issuer.problems")


class Problem(BaseModel):
    """What went wrong. `code` is stable and for programs; `detail` says what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str = Field(description="name this when you ask for help")


_TITLES = {
    "api_key_missing": "API key missing",
    "api_key_invalid": "API key not valid",
    "no_grant": "No grant for this dataset",
    "not_a_revoker": "Not yours to revoke",
    "key_in_use": "The key signs tokens",
    "project_not_granted": "No grant on this project",
    "dataset_not_found": "No such dataset",
    "version_not_found": "No such version",
    "bad_request": "Request not valid",
    "store_unavailable": "Object store unavailable",
    "release_invalid": "Release not valid",
    "database_unavailable": "Database unavailable",
    "issuer_error": "Issuer failure",
}


def problem(request: Request, status: int, code: str, detail: str) -> JSONResponse:
    """The response for a problem."""
    headers = {"Cache-Control": "no-store"}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="lading"'
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    body = Problem(
        title=_TITLES.get(code, HTTPStatus(status).phrase),
        status=status,
        detail=detail,
        code=code,
        request_id=request.scope.get("request_id", ""),
    )
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    @app.exception_handler(RefusedError)
    def refused(request: Request, error: RefusedError) -> JSONResponse:
        return problem(request, error.status, error.code, error.detail)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(request, 422, "bad_request", f"{where}: {first['msg']}; see /docs for what the request may hold")

    @app.exception_handler(LadingError)
    def failed(request: Request, error: LadingError) -> JSONResponse:
        _log.error("request %s failed: %s", request.scope.get("request_id"), error)
        status = 503
        if isinstance(error, TransferError):
            detail = "the object store does not answer as it should; try again in a moment"
        elif isinstance(error, IntegrityError):
            status = 502
            detail = f"{error.message}; tell the dataset's publisher"
        else:
            detail = "the issuer cannot serve now; tell its operator the request_id"
        return problem(request, status, failure_code(error), detail)

    @app.exception_handler(SQLAlchemyError)
    def database_failed(request: Request, error: SQLAlchemyError) -> JSONResponse:
        _log.error("request %s failed: %s: %s", request.scope.get("request_id"), type(error).__name__, error)
        return problem(
            request, 503, failure_code(error), "the issuer's database does not answer; try again in a moment"
        )

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        code = status.name.lower()
        detail = f"{request.method} {request.url.path}: {error.detail}; the routes are listed at /docs"
        response = problem(request, status, code, detail)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        return problem(request, 500, "issuer_error", "the issuer failed unexpectedly; tell its operator the request_id")
