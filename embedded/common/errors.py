"""Errors in the shape that the official clients expect: `{"detail": "text"}`.

    ApiError
    ├── BadRequest      400  well-formed, but makes no sense
    ├── NotFound        404
    ├── Conflict        409  sent with `x-should-retry: false`, since the SDK retries 409 otherwise
    └── Unprocessable   422  breaks the schema; FastAPI's own validation errors come as 422 too
"""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse


class ApiError(Exception):
    """An answer to the client; `detail` says what was tried, what is wrong and what to do."""

    status = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(ApiError):
    """400."""

    status = 400


class NotFound(ApiError):
    """404."""

    status = 404


class Conflict(ApiError):
    """409."""

    status = 409


class Unprocessable(ApiError):
    """422."""

    status = 422


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    headers = {"x-should-retry": "false"} if error.status == 409 else None
    return JSONResponse({"detail": error.detail}, status_code=error.status, headers=headers)


def install(app: FastAPI) -> None:
    """Make `app` answer ApiErrors."""
    app.add_exception_handler(ApiError, _answer)
