"""Base URLs of services, without the API path that their clients add.

Other tools want an address with its API path (OPENAI_BASE_URL ends in /v1, an Evaluator target in
/v1/chat/completions), so users copy it from there. It is cut off, with a notice: kept, requests would go to /v1/v1/...
Only whole API paths at the end are cut: a proxy may serve everything below a path of its own.
"""

from typing import Final

_OPENAI: Final = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1")
API_PATHS: Final[dict[str, tuple[str, ...]]] = {
    "nemo_url": ("/v1",),
    "nemo_internal_url": ("/v1",),
    "data_store_url": ("/v1/hf", "/v1"),
    "nim_url": _OPENAI,
    "nim_internal_url": _OPENAI,
    "judge_url": _OPENAI,
    "mlflow_url": ("/api/2.0/mlflow",),
}
"""Keys of the stack outputs -> API paths of that service, the longest first."""


def split_api_path(key: str, url: str) -> tuple[str, str]:
    """Split the URL of output `key` into its base, without a slash at the end, and the API path (often empty)."""
    url = url.rstrip("/")
    for path in API_PATHS[key]:
        if url.endswith(path):
            return url.removesuffix(path).rstrip("/"), path
    return url, ""


def base_url(key: str, url: str) -> str:
    """Return the base of the URL of output `key`."""
    return split_api_path(key, url)[0]


def notice(key: str, url: str, *, name: str | None = None) -> str | None:
    """Return one line about an API path that was cut off, None without one. `name`: the option that the user gave."""
    base, path = split_api_path(key, url)
    return f"{name or key}: using {base} without {path}, which clients add themselves" if path else None
