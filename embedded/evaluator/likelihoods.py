"""Whether an endpoint gives what benchmarks that compare likelihoods need: log probabilities of the prompt.

vLLM's `/v1/completions` does (`echo` and `logprobs`), and with it the NIM of the local stack; other servers ignore or
refuse `echo`. One small request tells, before thousands are made that lm-eval would fail on without a reason.
"""

from typing import Any

import httpx

_ADVICE = (
    "NIM on vLLM gives them; on others use a benchmark that generates text, such as gsm8k, truthfulqa_gen or humaneval"
)


def find_obstacle(url: str, body: dict[str, Any], *, api_key: str, timeout_s: float) -> str | None:
    """Tell why `body`, a completion of some tokens with `echo` and `logprobs`, does not bring them; None if it does."""
    asked = f"asked {url} with `echo` and `logprobs`, which should give the log probabilities of the prompt"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        answer = httpx.post(url, json=body, headers=headers, timeout=timeout_s)
    except httpx.HTTPError as error:
        return f"{asked}: {type(error).__name__}: {error}"
    if answer.is_error:
        text = " ".join(answer.text.split())[:200]
        if api_key:
            text = text.replace(api_key, "******")
        return f"{asked}: it answered {answer.status_code}: {text}. {_ADVICE}"
    tokens = len(body["prompt"][0])
    try:
        choice = answer.json()["choices"][0]["logprobs"]
        known = [value for value in choice["token_logprobs"][:tokens] if isinstance(value, int | float)]
        complete = len(known) >= tokens - 1 and len(choice["top_logprobs"]) >= tokens  # the first token has none
    except (ValueError, LookupError, TypeError):
        complete = False
    return None if complete else f"{asked}: its answer has none. {_ADVICE}"
