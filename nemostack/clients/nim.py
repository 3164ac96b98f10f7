"""NIM: which models are served, and one chat to see that they answer."""

import json
from collections.abc import Sequence
from typing import Any

from nemostack.aliases import Alias, AliasState, Sampled, Sampling
from nemostack.clients.error_mapping import calling
from nemostack.clients.tls import shared_context
from nemostack.errors import ServiceError

_SERVICE = "NIM"
_NOT_OFFERED = {400, 404, 405, 501}  # of a route that the server does not have, or has for other models


class Nim:
    """Over the openai client. NIM inside a cluster asks for no key, the NeMo Platform's gateway for a user's token."""

    def __init__(
        self, url: str, timeouts: Any, *, max_retries: int = 2, transport: Any = None, api_key: str | None = None
    ) -> None:
        import httpx2
        import openai

        timeout = httpx2.Timeout(timeouts.read, connect=timeouts.connect)
        self._url = url
        context = shared_context(httpx2)
        self._http = httpx2.Client(timeout=timeout, transport=transport, verify=context, follow_redirects=True)
        self._api = openai.OpenAI(
            base_url=f"{url}/v1",
            api_key=api_key or "none",
            timeout=timeout,
            max_retries=max_retries,
            http_client=self._http,
        )

    def close(self) -> None:
        self._http.close()

    def ready(self) -> None:
        """ServiceError or Unreachable unless NIM says it is ready."""
        with calling(_SERVICE, self._url, "asking whether it is ready"):
            self._http.get(f"{self._url}/v1/health/ready").raise_for_status()

    def models(self) -> list[str]:
        """Ids of the base model and of the adapters that are loaded."""
        with calling(_SERVICE, self._url, "listing models"):
            return [model.id for model in self._api.models.list().data]

    def model(self, model: str) -> None:
        """NotFound unless NIM serves it; its text may say why not."""
        with calling(_SERVICE, self._url, f"asking for the model {model}"):
            self._api.models.retrieve(model)

    def version(self, model: str) -> str | None:
        """All that the server tells of a model that does not change while it serves it; None for one not served."""
        import httpx2

        with calling(_SERVICE, self._url, "listing models"):
            listed = {one.id: one.to_dict() for one in self._api.models.list().data}
        if model not in listed:
            return None
        told: dict[str, Any] = {key: listed[model].get(key) for key in ("id", "root", "owned_by")}
        for path in ("/v1/metadata", "/v1/version", "/version"):
            try:
                answer = self._http.get(f"{self._url}{path}")
                told[path] = answer.json() if answer.is_success else None
            except (httpx2.HTTPError, ValueError):
                told[path] = None
        return json.dumps(told, sort_keys=True)

    def count_tokens(self, model: str, text: str) -> int | None:
        """Number of tokens of a text by the model's tokenizer; None where the server does not offer it.

        vLLM and the local NIM answer POST /tokenize with `count`; NIMs of NVIDIA need not.
        """
        return self._count({"model": model, "prompt": text})

    def count_chat_tokens(self, model: str, messages: list[dict[str, str]]) -> int | None:
        """Count the tokens of a chat as the server templates it; None where the server does not offer it."""
        return self._count({"model": model, "messages": messages, "add_generation_prompt": False})

    def _count(self, body: dict[str, Any]) -> int | None:
        import httpx2

        try:
            answer = self._http.post(f"{self._url}/tokenize", json=body)
            count = answer.json().get("count") if answer.is_success else None
        except (httpx2.HTTPError, ValueError, AttributeError):
            return None
        return count if isinstance(count, int) else None

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]] | None:
        """Vectors of texts by the model; None where the server offers no embeddings, as NIMs of chat models do."""
        with calling(_SERVICE, self._url, f"asking {model} for embeddings"):
            answer = self._http.post(f"{self._url}/v1/embeddings", json={"model": model, "input": list(texts)})
            if answer.status_code in _NOT_OFFERED:
                return None
            answer.raise_for_status()
            rows = sorted(answer.json()["data"], key=lambda row: int(row["index"]))
            return [[float(value) for value in row["embedding"]] for row in rows]

    def context_length(self, model: str) -> int | None:
        """Longest chat that the model takes, in tokens; None where the server does not say."""
        with calling(_SERVICE, self._url, "listing models"):
            listed = {one.id: one for one in self._api.models.list().data}
        length = getattr(listed.get(model), "max_model_len", None)
        return length if isinstance(length, int) else None

    @property
    def limits(self) -> str:
        """The local stack's NIM does all that aliases promise."""
        return ""

    def aliases(self) -> dict[str, AliasState]:
        """All aliases by name. ServiceError where this NIM has none to set: those of NVIDIA have not."""
        with calling(_SERVICE, self._url, "listing aliases"):
            answer = self._http.get(f"{self._url}/v1/aliases")
            if answer.status_code == 404:
                raise ServiceError(
                    f"NIM at {self._url} routes no aliases",
                    404,
                    hint="the NIM of the local stack does, and in a cluster that the outputs of the stack name an "
                    "InferencePool's router or Envoy AI Gateway (docs/promotion.md); elsewhere name the adapter itself",
                )
            answer.raise_for_status()
            return {row["name"]: AliasState.model_validate(row) for row in answer.json()["data"]}

    def set_alias(self, name: str, alias: Alias) -> None:
        """Let an alias lead elsewhere, for requests that begin afterwards. Conflict when a model is not served."""
        with calling(_SERVICE, self._url, f"setting the alias {name}"):
            answer = self._http.put(f"{self._url}/v1/aliases/{name}", json=alias.model_dump(mode="json"))
            answer.raise_for_status()

    def remove_alias(self, name: str) -> None:
        """Forget an alias. NotFound when there is none."""
        with calling(_SERVICE, self._url, f"removing the alias {name}"):
            self._http.delete(f"{self._url}/v1/aliases/{name}").raise_for_status()

    def sample(self, name: str, how: Sampling) -> None:
        """Let the traffic of an alias be sampled, anew. NotFound where there is no such alias, or no sampling."""
        with calling(_SERVICE, self._url, f"sampling the alias {name}"):
            body = how.model_dump(mode="json")
            self._http.put(f"{self._url}/v1/aliases/{name}/samples", json=body).raise_for_status()

    def samples(self, name: str, after: int = 0) -> list[Sampled]:
        """Return what was sampled after the one of this number. NotFound when nothing is sampled any more."""
        with calling(_SERVICE, self._url, f"reading the samples of {name}"):
            answer = self._http.get(f"{self._url}/v1/aliases/{name}/samples", params={"after": after})
            answer.raise_for_status()
            return [Sampled.model_validate(row) for row in answer.json()["data"]]

    def end_sampling(self, name: str) -> None:
        """Let the samples of an alias be dropped. NotFound when there are none."""
        with calling(_SERVICE, self._url, f"ending the sampling of {name}"):
            self._http.delete(f"{self._url}/v1/aliases/{name}/samples").raise_for_status()

    def chat(self, model: str, text: str, *, max_tokens: int = 8) -> str:
        with calling(_SERVICE, self._url, f"asking {model} something"):
            answer = self._api.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=max_tokens, temperature=0
            )
        return (answer.choices[0].message.content or "") if answer.choices else ""
