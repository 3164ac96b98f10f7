"""The number of prompt tokens that a server counts for a text: one request of one output token each.

Refuses a server that does not tell (`usage.prompt_tokens`).
"""

import httpx

from load_tests.traffic.prompts import PATHS, Api, as_messages
from load_tests.traffic.token_texts import CountTokens
from nemostack.clients.tls import shared_context
from nemostack.errors import BadInput, ServiceError, Unreachable, no_answer_hint

_TIMEOUT_S = 60.0


def counter(http: httpx.Client, nim_url: str, model: str, *, api: Api) -> CountTokens:
    """Return a function that asks the server. It raises Unreachable, ServiceError and BadInput."""
    url = f"{nim_url.rstrip('/')}{PATHS[api]}"

    def count(text: str) -> int:
        asked = {"messages": as_messages(text)} if api == "chat" else {"prompt": text}
        try:
            reply = http.post(url, json={"model": model, **asked, "max_tokens": 1, "temperature": 0})
            reply.raise_for_status()
            usage = reply.json().get("usage") or {}
        except httpx.TransportError as error:
            raise Unreachable(f"POST {url} failed: {error}", hint=no_answer_hint(str(error), "is NIM up?")) from error
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            raise ServiceError(f"POST {url} failed: {error}", hint="does it serve this model by this API?") from error
        tokens = usage.get("prompt_tokens")
        if not isinstance(tokens, int) or tokens < 1:
            raise BadInput(
                f"{url} does not tell how many tokens a prompt has (usage.prompt_tokens): leave --input-tokens out"
            )
        return tokens

    return count


def client(api_key: str | None) -> httpx.Client:
    """Make the client for these questions."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(timeout=_TIMEOUT_S, headers=headers, verify=shared_context(httpx))
