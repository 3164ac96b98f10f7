"""A reverse proxy by path prefix: picks an upstream and streams the request there and the answer back.

Used by the gateway of the local stack and by `nemostack port-forward`. Bodies are streamed both ways and have no limit
of size. Refuses paths that no prefix covers (404 naming the prefixes); answers 502 naming the upstream that does not
answer.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

# RFC 9110 7.6.1: these concern one connection, not the message.
HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# An evaluation or a generation may think for minutes before its first byte; a dead upstream refuses to connect at once.
TIMEOUT = httpx.Timeout(connect=5, read=600, write=600, pool=None)


def _forwarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Drop what belongs to the connection, and what `Connection` names."""
    named = {
        token.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for token in value.decode("latin-1").split(",")
    }
    return [(key, value) for key, value in headers if key.decode("latin-1").lower() not in HOP_BY_HOP | named]


class PathProxy:
    """A table of prefixes, and one HTTP client with its pool of connections."""

    def __init__(self, routes: dict[str, str]) -> None:
        self.routes = dict(sorted(routes.items(), key=lambda route: len(route[0]), reverse=True))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self.client = httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False, follow_redirects=False)

    def upstream(self, path: str) -> str | None:
        """Find the upstream of the longest prefix that covers `path`, whole segments only."""
        for prefix, upstream in self.routes.items():
            if prefix in {"/", path} or path.startswith(f"{prefix}/"):
                return upstream
        return None

    async def health(self, _request: Request) -> Response:
        """Ask every upstream."""

        async def ask(upstream: str) -> str:
            try:
                answer = await self.client.get(f"{upstream}/health", timeout=3)
            except httpx.HTTPError as error:
                return f"does not answer: {type(error).__name__}"
            return "healthy" if answer.is_success else f"unhealthy: HTTP {answer.status_code}"

        upstreams = sorted(set(self.routes.values()))
        states = dict(zip(upstreams, await asyncio.gather(*map(ask, upstreams)), strict=True))
        healthy = all(state == "healthy" for state in states.values())
        body = {"status": "healthy" if healthy else "unhealthy", "object": "health.response", "upstreams": states}
        return JSONResponse(body, status_code=200 if healthy else 503)

    async def forward(self, request: Request) -> Response:
        """Pass one request on and its answer back."""
        path = request.url.path
        upstream = self.upstream(path)
        if upstream is None:
            known = ", ".join(sorted(self.routes))
            return JSONResponse({"detail": f"{path}: no service has this path; prefixes: {known}"}, status_code=404)
        target = httpx.URL(upstream)
        host = (b"host", target.netloc)
        # The path as it came: decoding and encoding again would change `%2F`, `@` and `+`.
        raw_path = request.scope["raw_path"] + (b"?" + query if (query := request.scope["query_string"]) else b"")
        headers = [(key, value) for key, value in _forwarded(request.headers.raw) if key != b"host"]
        client = request.client.host if request.client else "unknown"
        before = request.headers.get("x-forwarded-for")
        forwarded = {
            "x-forwarded-for": f"{before}, {client}" if before else client,
            "x-forwarded-proto": request.headers.get("x-forwarded-proto", request.url.scheme),
            "x-forwarded-host": request.headers.get("x-forwarded-host", request.headers.get("host", "")),
        }
        headers = [(key, value) for key, value in headers if key.decode("latin-1") not in forwarded]
        headers += [(key.encode(), value.encode("latin-1")) for key, value in forwarded.items()]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        outgoing = self.client.build_request(
            request.method,
            target.copy_with(raw_path=target.raw_path.rstrip(b"/") + raw_path),
            content=request.stream() if has_body else None,
        )
        outgoing.headers = httpx.Headers([*headers, host])  # not the client's defaults
        if has_body and "content-length" not in request.headers:
            outgoing.headers["transfer-encoding"] = "chunked"
        try:
            answer = await self.client.send(outgoing, stream=True)
        except httpx.HTTPError as error:
            what = f"{upstream} does not answer {request.method} {path}: {type(error).__name__} {error}".rstrip()
            return JSONResponse({"detail": f"{what}; is that service running?"}, status_code=502)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is left to read it

        async def body() -> AsyncIterator[bytes]:
            # An upstream that dies half way: the client sees the connection end, as it would without us.
            # A client that leaves half way: closing tells the upstream to stop.
            try:
                async for chunk in answer.aiter_raw():
                    yield chunk
            finally:
                await answer.aclose()

        response = StreamingResponse(body(), answer.status_code, background=BackgroundTask(answer.aclose))
        response.raw_headers = _forwarded([(key.lower(), value) for key, value in answer.headers.raw])
        return response
