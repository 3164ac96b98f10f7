"""NIM: which models are served, and one chat to see that they answer."""

from typing import Any

from nemostack.clients.error_mapping import calling

_SERVICE = "NIM"


class Nim:
    """Over the openai client. NIM inside a cluster asks for no key."""

    def __init__(self, url: str, timeouts: Any, *, max_retries: int = 2, transport: Any = None) -> None:
        import httpx2
        import openai

        timeout = httpx2.Timeout(timeouts.read, connect=timeouts.connect)
        self._url = url
        self._http = httpx2.Client(timeout=timeout, transport=transport, follow_redirects=True)
        self._api = openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", timeout=timeout, max_retries=max_retries, http_client=self._http
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

    def chat(self, model: str, text: str, *, max_tokens: int = 8) -> str:
        with calling(_SERVICE, self._url, f"asking {model} something"):
            answer = self._api.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], max_tokens=max_tokens, temperature=0
            )
        return (answer.choices[0].message.content or "") if answer.choices else ""
