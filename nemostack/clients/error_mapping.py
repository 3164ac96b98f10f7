"""Turns what the client libraries raise into our errors, in one place.

The libraries disagree about their HTTP stack (httpx, httpx2, requests) but not about its shape: an error either
carries a response with a status, or says by its class that there was none. Anything else is a bug and passes through.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nemostack.errors import Conflict, NemostackError, NotFound, ServiceError, Unreachable, no_answer_hint
from nemostack.product import TITLES
from nemostack.redact import redact

# Class names, since importing three HTTP libraries just to name their errors would cost every command a second.
_NO_ANSWER = {"APIConnectionError", "TransportError", "ConnectionError", "TimeoutError", "RequestException", "Timeout"}
_NONSENSE = {
    "APIResponseValidationError",
    "JSONDecodeError",
    "HfUriError",
    "ValidationError",
    "DecodingError",
    "EntryNotFoundError",
    "APIError",
    "HfHubHTTPError",
}
_DETAIL_CHARS = 300
PLATFORM = TITLES["platform"]


@contextmanager
def calling(service: str, url: str, tried: str) -> Iterator[None]:
    """Wrap a call: `tried` reads like "creating the dataset x"."""
    try:
        yield
    except NemostackError:
        raise
    except Exception as error:
        mapped = translate(error, service, url, tried)
        if mapped is None:
            raise
        raise mapped from error


def translate(error: Exception, service: str, url: str, tried: str) -> ServiceError | None:
    """Our error for `error`, None when it is none of a service's."""
    names = {kind.__name__ for kind in type(error).__mro__}
    where = f"{service} at {redact(url)}"
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(status, int):
        kinds: dict[int, type[ServiceError]] = {404: NotFound, 409: Conflict}
        text = f"{tried}: {where} answered {status}: {_detail(response, error)}"
        return kinds.get(status, ServiceError)(redact(text), status, hint=_hint(status, service))
    if names & _NO_ANSWER:
        problem = redact(str(error.__cause__ or error) or type(error).__name__)
        hint = no_answer_hint(f"{problem} {error}", "is it running? `nemostack doctor` tells")
        return Unreachable(f"{tried}: no answer from {where} ({problem[:_DETAIL_CHARS]})", hint=hint)
    if names & _NONSENSE:
        detail = redact(" ".join(str(error).split()))[:_DETAIL_CHARS]
        return ServiceError(
            f"{tried}: {where} answered what the client cannot read ({detail})", hint="is the URL right?"
        )
    return None


def _detail(response: Any, error: Exception) -> str:
    try:
        body = response.json()
    except Exception:  # noqa: BLE001 - any body that is no JSON, or not read yet, is shown as text
        body = None
    text = None
    if isinstance(body, dict):
        text = body.get("detail") or body.get("error") or body.get("message")
        if isinstance(text, list):  # FastAPI's validation errors
            text = "; ".join(
                f"{'.'.join(map(str, item.get('loc', [])))}: {item.get('msg')}" if isinstance(item, dict) else str(item)
                for item in text
            )
        elif isinstance(text, dict):
            text = text.get("message") or text
    if text is None:
        headers = getattr(response, "headers", {})
        text = headers.get("X-Error-Message") or str(error)
    return " ".join(str(text).split())[:_DETAIL_CHARS] or "nothing"


def _hint(status: int, service: str) -> str:
    if status == 401 and service == PLATFORM:
        return "log in with `nemo auth login`, then set NMP_ACCESS_TOKEN to what `nemo auth token` prints"
    if status in {401, 403}:
        return "check the credentials in the URL or in the environment"
    if status == 507:
        return "its disk is full: free some space where it keeps its data, then run the same command again"
    if status in {502, 503, 504}:
        return "the service behind it is not ready: `nemostack doctor` tells which"
    return ""
