"""Loading and unloading adapters while the server runs, by vLLM's routes, where the server has them.

vLLM has them with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1. NIM and the local stack's NIM find new adapters themselves, and
have no such routes.
"""

import time
from typing import Final

import httpx

from nemostack.clients.tls import shared_context
from nemostack.errors import BadInput

LOAD_PATH: Final = "/v1/load_lora_adapter"
UNLOAD_PATH: Final = "/v1/unload_lora_adapter"


def headers(key: str | None) -> dict[str, str]:
    """Return the header that carries the key, if there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def churn_sources(
    nim_url: str, adapters: tuple[str, ...], *, key: str | None = None, transport: httpx.BaseTransport | None = None
) -> list[tuple[str, str]]:
    """Return the adapters that can be loaded again, with their paths on the server. Raises BadInput when none can."""
    url = nim_url.rstrip("/")
    try:
        with httpx.Client(timeout=10, transport=transport, headers=headers(key), verify=shared_context(httpx)) as http:
            routes = http.get(f"{url}/openapi.json").raise_for_status().json()["paths"]
            rows = http.get(f"{url}/v1/models").raise_for_status().json()["data"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--churn: {url} does not say whether it can load adapters: {error}") from error
    if missing := sorted({LOAD_PATH, UNLOAD_PATH} - set(routes)):
        raise BadInput(
            f"--churn: {url} has no {' and no '.join(missing)}: it loads no adapters during a run "
            "(vLLM does with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1)"
        )
    paths = {str(row["id"]): str(row.get("root") or "") for row in rows}
    found = [(model, paths[model]) for model in adapters if paths.get(model) not in {None, "", model}]
    if not found:
        raise BadInput(f"--churn: {url} lists no path of an adapter, from which it could be loaded again")
    return found


def timed(http: httpx.Client, path: str, body: dict[str, str]) -> float:
    """POST and return the milliseconds that it took. Raises httpx.HTTPError."""
    start = time.perf_counter()
    http.post(path, json=body).raise_for_status()
    return (time.perf_counter() - start) * 1e3
