"""Errors as hub clients recognise them: by the header `X-Error-Code`.

HubError
├── Invalid            400  what was sent cannot be understood or stored
├── RepoNotFound       404
├── RevisionNotFound   404
├── EntryNotFound      404  no such file in that revision
├── Exists             409  `url` in the body for a repository: `create_repo(exist_ok=True)` reads it
└── HeadMoved          412  the parent that the commit names is not the branch's head
"""

# ruff: noqa: N818 - these are answers, named as the hub names them

from fastapi.responses import JSONResponse

from embedded.common.errors import ApiError


class HubError(ApiError):
    """An answer with `{"error": text, "detail": text}` and the hub's headers."""

    code: str | None = None

    def __init__(self, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = headers or {}
        self.body: dict[str, str] = {}

    def answer(self) -> JSONResponse:
        """Build the response that tells it."""
        headers = {**self.headers, "X-Error-Message": "".join(c if " " <= c <= "~" else "?" for c in self.detail)}
        if self.code:
            headers["X-Error-Code"] = self.code
        if self.status == 409:
            headers["x-should-retry"] = "false"
        return JSONResponse({**self.body, "error": self.detail, "detail": self.detail}, self.status, headers)


class Invalid(HubError):
    """400."""

    status = 400


class RepoNotFound(HubError):
    """404."""

    status, code = 404, "RepoNotFound"


class RevisionNotFound(HubError):
    """404."""

    status, code = 404, "RevisionNotFound"


class EntryNotFound(HubError):
    """404."""

    status, code = 404, "EntryNotFound"


class Exists(HubError):
    """409."""

    status = 409

    def __init__(self, detail: str, url: str | None = None) -> None:
        super().__init__(detail)
        self.body = {"url": url} if url else {}


class HeadMoved(HubError):
    """412."""

    status = 412
