"""Errors in the shape that the official clients expect: `{"detail": "text"}`.

    ApiError
    ├── BadRequest      400  well-formed, but makes no sense
    ├── NotFound        404
    ├── Conflict        409  sent with `x-should-retry: false`, since the SDK retries 409 otherwise
    └── Unprocessable   422  breaks the schema; FastAPI's own validation errors come as 422 too

A service whose clients expect another shape overrides `ApiError.answer`. `install` also gives unknown routes, a full
disk (507) and our own bugs (500, traceback in the log only) a JSON body.
"""

# ruff: noqa: N818 - these are answers, named as HTTP names them

import errno
import sqlite3

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect


class ApiError(Exception):
    """An answer to the client; `detail` says what was tried, what is wrong and what to do."""

    status = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def answer(self) -> JSONResponse:
        """Build the response that tells it."""
        return JSONResponse({"detail": self.detail}, status_code=self.status)


class BadRequest(ApiError):
    """400."""

    status = 400


class NotFound(ApiError):
    """404."""

    status = 404


class Conflict(ApiError):
    """409."""

    status = 409

    def answer(self) -> JSONResponse:
        """As ApiError, and tells the SDK not to try again."""
        response = super().answer()
        response.headers["x-should-retry"] = "false"
        return response


class Unprocessable(ApiError):
    """422."""

    status = 422


class TooLarge(HTTPException):
    """413. An HTTPException, because FastAPI turns anything else that is raised while it reads a body into a 400."""

    def __init__(self, at_most: int) -> None:
        super().__init__(413, f"the request's body is larger than the {at_most} bytes that this service accepts")


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.answer()


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    detail = error.detail
    if error.status_code in {404, 405} and detail in {"Not Found", "Method Not Allowed"}:
        detail = f"{request.method} {request.url.path}: this service has no such route"
    return JSONResponse({"detail": detail}, status_code=error.status_code, headers=error.headers)


async def _answer_os_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return JSONResponse({"detail": "no space left in this service's data folder: free some"}, status_code=507)
    raise error


async def _answer_database(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"this service cannot use its database: {error}"}, status_code=507)


async def _answer_nobody(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the client went away while it was sending"}, status_code=400)


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    what = f"{request.method} {request.url.path}: internal error ({type(error).__name__}); the service's log has more"
    return JSONResponse({"detail": what}, status_code=500)


def install(app: FastAPI) -> None:
    """Make `app` answer ApiErrors, unknown routes, a full disk and bugs in JSON."""
    app.add_exception_handler(ApiError, _answer)
    app.add_exception_handler(AnyHTTPException, _answer_http)
    app.add_exception_handler(OSError, _answer_os_error)
    app.add_exception_handler(sqlite3.OperationalError, _answer_database)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_bug)
