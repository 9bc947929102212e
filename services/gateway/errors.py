"""Errors over HTTP: one table from class to status, and one JSON shape for whatever goes wrong.

    {"error": {"code": "bad_spec", "message": "steps: …", "where": "spec.steps", "hint": null}}

The shape is the same for errors that tandem raises on purpose, for requests that do not fit a route's declaration, for
unknown routes (404), wrong methods (405, with `Allow`), bodies over the limit (413), a disk that takes nothing (503),
and for what nobody expected (500: logged once, with an id that the answer names).

The routes of other people's protocols (`speaks_plainly`) answer as these have it: `error` is a sentence, and what else
there is to say stands beside it. Input that is wrong is 400 there, not 422.
"""

import errno
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from shared import errors

STATUSES: Mapping[type[errors.TandemError], int] = {
    errors.TandemError: 500,
    errors.InputError: 422,
    errors.DatasetError: 409,
    errors.DownloadError: 502,
    errors.VolumeError: 500,
    errors.NotWritableError: 503,
    errors.FencedError: 409,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.AccessError: 403,
    errors.UnauthenticatedError: 401,
    errors.UnavailableError: 503,
    errors.ImageFormatError: 415,
    errors.ImageTooLargeError: 413,
    errors.ImageTruncatedError: 422,
    errors.ImageCorruptError: 422,
    errors.ImageAnimatedError: 422,
    errors.InstancesError: 422,
    errors.BodyTooLargeError: 413,
    errors.BodyTimeoutError: 408,
    errors.MediaTypeError: 415,
    errors.OverloadedError: 429,
    errors.RateLimitedError: 429,
    errors.DeadlineError: 504,
}
RETRY_SECONDS = 2
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES})
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
CODES = {400: "bad_input", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "bad_media_type"}


class ErrorView(BaseModel):
    """What was wrong, where, and what to do about it."""

    code: str = Field(description="stable; what programs match on")
    message: str
    where: str | None = Field(description="a field's path, a file, a run")
    hint: str | None = Field(description="what to do")


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "code": "not_found",
                    "message": "there is no run 20260101-120000-shapes-ab12",
                    "where": "run",
                    "hint": None,
                }
            }
        }
    )

    error: ErrorView


class BodyTooLargeError(HTTPException):
    """A request's body is over the limit. Raised while the body is read, so no more of it is kept than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(status_code=413, detail=f"the body is over the limit of {limit} bytes")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's declaration says about its errors, for OpenAPI. Every route may answer 400, 413, 422 and 500."""
    return {
        status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase}
        for status in sorted({400, 413, 422, 500, *statuses})
    }


def status_of(error: errors.TandemError) -> int:
    """The HTTP status of an error: that of the nearest class in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def answer(
    status: int,
    *,
    code: str,
    message: str,
    where: str | None = None,
    hint: str | None = None,
    headers: dict[str, str] | None = None,
    path: str = "",
) -> JSONResponse:
    """An error in the one shape, or in that of the protocol that the path belongs to."""
    view = ErrorView(code=code, message=message, where=where, hint=hint).model_dump()
    if speaks_plainly(path):
        sentence = f"{where}: {message}" if where else message
        body = {"error": f"{sentence}. {hint}" if hint else sentence, **view}
        return JSONResponse(body, status_code=plain_status(status), headers=headers)
    return JSONResponse({"error": view}, status_code=status, headers=headers)


def speaks_plainly(path: str) -> bool:
    """Whether this path belongs to TensorFlow Serving's REST API or to the Open Inference Protocol."""
    return _PLAIN.match(path) is not None


def plain_status(status: int) -> int:
    """The status of an error in these protocols."""
    return HTTPStatus.BAD_REQUEST if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


_PLAIN = re.compile(r"/v2(/|$)|/v1/models/[^/]+(/(?!aliases(/|$))|:(predict|regress)$)|/v1/models/[^/:]+$")
# Routes of TensorFlow Serving that are not here.
_NOT_HERE = re.compile(r"/v1/models/([^/:]+)(?:/(?:versions|labels)/([^/:]+))?:(classify|regress)")


def install(app: FastAPI) -> None:
    """Makes `app` answer every error in the one shape; `middleware.Guard` sees to the unexpected ones."""
    app.add_exception_handler(errors.TandemError, _on_tandem_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(OSError, _on_disk_error)


def answer_error(error: errors.TandemError, *, path: str) -> JSONResponse:
    """What is answered for an error at a path."""
    status = status_of(error)
    known = error.retry_after if isinstance(error, errors.RateLimitedError) else None
    headers = {"Retry-After": str(known or RETRY_SECONDS)} if status in BUSY else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(
        status,
        code=error.code,
        message=error.message,
        where=error.where,
        hint=error.hint,
        headers=headers,
        path=path,
    )


async def _on_tandem_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.TandemError):
        raise error
    return answer_error(error, path=request.url.path)


async def _on_disk_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, OSError) or error.errno not in DISK_ERRORS:
        raise error
    unwritable = errors.NotWritableError(
        f"it could not be written down: {error.strerror}",
        where=str(error.filename or "the volume"),
        hint="Make room there, or let the gateway write there, and ask again",
    )
    logging.getLogger(__name__).error("%s %s: %s", request.method, request.url.path, unwritable)
    return answer_error(unwritable, path=request.url.path)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems: Sequence[dict[str, Any]] = error.errors()
    if problems and problems[0]["type"] == "json_invalid":
        reason = problems[0].get("ctx", {}).get("error", "")
        return answer(
            400,
            code="bad_json",
            message=f"the body is not JSON: {reason}",
            where=f"body, character {problems[0]['loc'][-1]}",
        )
    paths = [".".join(str(part) for part in problem["loc"]) for problem in problems]
    texts = [_problem_text(problem) for problem in problems]
    message = "; ".join(f"{path}: {text}" for path, text in zip(paths, texts, strict=True))
    return answer(422, code="bad_request", message=message, where=", ".join(paths))


def _problem_text(problem: dict[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown"
    return str(problem["msg"]).removeprefix("Value error, ")


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    hint = None
    message = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        message, hint = f"there is no route {request.url.path}", _other_way(request.url.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed = ", ".join(allowed_methods(request.app, request.url.path))
        message, hint = f"{request.method} is not for this route", f"It takes {allowed}"
    code = CODES.get(error.status_code, "error")
    path = request.url.path
    return answer(error.status_code, code=code, message=message, where=path, hint=hint, headers=headers, path=path)


def _other_way(path: str) -> str:
    """What to do instead of asking for a route that is not there, as TensorFlow Serving has it."""
    found = _NOT_HERE.fullmatch(path)
    if found is None:
        return "GET /docs lists them all"
    model, which, verb = found.groups()
    if verb == "classify" and which:
        return f"Pictures are classified by one export at /v1/models/{model}@{which}:classify"
    return "Answers of a model are at `:predict`, and of pictures at `:classify`"


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """The methods of the routes that `path` is meant for: of those it fits, the ones that say most of it themselves.

    `/v1/runs/a:stop` fits `/v1/runs/{run}` too, as a run of that name, which none has.
    """
    fitting: dict[str, set[str]] = {}
    for route in iter_route_contexts(app.routes):
        if route.path is not None and compile_path(route.path)[0].match(path):
            fitting.setdefault(route.path, set()).update(route.methods or ())
    found = fitting[max(fitting, key=_said)] if fitting else set()
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _said(template: str) -> int:
    """How many characters of a path its template says itself."""
    return len(re.sub(r"{[^}]*}", "", template))
