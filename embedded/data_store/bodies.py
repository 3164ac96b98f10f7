"""Request bodies: large ones into files in pieces, small ones as JSON. Refuses what is larger than allowed (413)."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from embedded.common.errors import TooLarge
from embedded.data_store import disk
from embedded.data_store.hub_errors import Invalid

MAX_JSON = 32 * 1024**2
_PIECE = 1024**2


async def _pieces(request: Request, at_most: int) -> AsyncIterator[bytes]:
    """Yield the body in pieces of about 1 MiB."""
    announced = request.headers.get("content-length", "0")
    seen, buffer = int(announced) if announced.isdecimal() else 0, bytearray()
    if seen > at_most:
        raise TooLarge(at_most)
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > at_most:
            raise TooLarge(at_most)
        buffer += chunk
        if len(buffer) >= _PIECE:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


async def receive(request: Request, receiver: disk.Receiver, at_most: int) -> disk.Received:
    """Take the body into `receiver`, which is open. Disk and hashes do not hold up other requests."""
    async for piece in _pieces(request, at_most):
        await run_in_threadpool(receiver.write, piece)
    return await run_in_threadpool(receiver.finish)


async def json_object(request: Request) -> dict[str, Any]:
    """Read a JSON object; Invalid when it is none. An absent body is an empty object."""
    body = b"".join([piece async for piece in _pieces(request, MAX_JSON)])
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise Invalid(f"the request's body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Invalid(f"the request's body: expected a JSON object, got {type(value).__name__}")
    return cast("dict[str, Any]", value)
