"""lm-eval's client for a model's endpoint, fit for what OpenAI-compatible servers take and give.

They take four stop sequences at most, while tasks have more: the rest is cut off here. Benchmarks that compare
likelihoods are refused where an endpoint does not give them, before thousands of requests are made.
"""

import math
import os
from typing import Any

from embedded.evaluator.benchmark_tasks import SpecError
from embedded.evaluator.likelihoods import find_obstacle

_PROBE = "The capital of France is Paris."
MAX_STOPS = 4


class _FewStops:
    """Stands before lm-eval's class. The requests of one task are made and answered before those of the next."""

    _until: tuple[str, ...] = ()

    def _create_payload(self, *args: Any, **more: Any) -> Any:
        until = (more.get("gen_kwargs") or {}).get("until") or ()
        self._until = (until,) if isinstance(until, str) else tuple(until)
        payload = super()._create_payload(*args, **more)  # type: ignore[misc]
        if isinstance(payload.get("stop"), list):
            payload["stop"] = payload["stop"][:MAX_STOPS]
        return payload

    def parse_generations(self, *args: Any, **more: Any) -> list[str | None]:
        texts = super().parse_generations(*args, **more)  # type: ignore[misc]
        return [None if text is None else cut_at(text, self._until) for text in texts]


def cut_at(text: str, stops: tuple[str, ...]) -> str:
    """Give the text before the first of `stops`."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def create_client(spec: dict[str, Any], *, likelihoods: bool) -> Any:
    """lm-eval's client for the endpoint; likelihoods need completions and a tokenizer."""
    from lm_eval.api.registry import get_model

    chat = not likelihoods and spec["model_type"] != "completions"
    arguments: dict[str, Any] = {
        "model": spec["model"],
        "base_url": spec["root"] + ("/chat/completions" if chat else "/completions"),
        "num_concurrent": max(2, spec["parallelism"]),  # the concurrent path caches answers one by one
        "max_retries": spec["attempts"],
        "timeout": math.ceil(spec["timeout"]),
        "max_length": spec["max_length"],
        "tokenizer_backend": "None",
        "tokenized_requests": False,
        "eos_string": "</s>",
    }
    if likelihoods:
        if spec["model_type"] == "chat":
            raise SpecError("it compares likelihoods, which a chat endpoint does not give: leave extra.model_type out")
        if spec["tokenizer"] is None:
            raise SpecError(
                f"it compares likelihoods and needs the tokenizer of {spec['model']}: set params.extra.tokenizer"
            )
    if not chat and spec["tokenizer"] is not None:  # prompts that are too long can be shortened only in tokens
        arguments |= {"tokenizer": spec["tokenizer"], "tokenizer_backend": "huggingface", "tokenized_requests": True}
    kind: Any = type("Client", (_FewStops, get_model("local-chat-completions" if chat else "local-completions")), {})
    model = kind.create_from_arg_obj(arguments)
    if likelihoods:
        _require_likelihoods(model, arguments)
    return model, chat


def _require_likelihoods(model: Any, arguments: dict[str, Any]) -> None:
    body = model._create_payload([model.tok_encode(_PROBE)])  # noqa: SLF001 - what lm-eval itself is going to send
    problem = find_obstacle(
        arguments["base_url"], body, api_key=os.environ.get("OPENAI_API_KEY", ""), timeout_s=arguments["timeout"]
    )
    if problem is not None:
        raise SpecError(f"it compares likelihoods, which this endpoint does not give: {problem}")
