"""Journeys: users of your own in plain Locust Python, with this load test's client, records, report and verdict.

```python
from locust import between, task

from load_tests.journeys import Journey


class Reader(Journey):
    wait_time = between(1, 3)

    @task
    def summarise(self):
        self.complete("Section 1 ...", max_tokens=80)
```

`nemostack load --journey FILE` runs it. A journey is a closed loop: refuses a run with a schedule. A reply that failed
is returned like any other; its record says how.
"""

from dataclasses import dataclass
from typing import Any

from locust.exception import StopUser

from load_tests.client.records import RequestRecord
from load_tests.locustfile import ReportingUser, run
from load_tests.traffic.prompts import Api, Prompt, body


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of a reply, and how it went; `record.ok` tells whether all of it arrived."""

    text: str
    record: RequestRecord


class Journey(ReportingUser):
    """A client of NIM whose tasks say what it asks."""

    abstract = True

    def chat(
        self, messages: list[dict[str, Any]], *, model: str | None = None, max_tokens: int | None = None, **options: Any
    ) -> Reply:
        """Ask by the chat API; `options` are further keys of the request. Without a model, the mix draws one."""
        return self._ask("chat", messages, model, max_tokens, options)

    def complete(
        self, prompt: str, *, model: str | None = None, max_tokens: int | None = None, **options: Any
    ) -> Reply:
        """Ask by the completions API."""
        return self._ask("completions", prompt, model, max_tokens, options)

    def _ask(
        self, api: Api, prompt: Prompt, model: str | None, max_tokens: int | None, options: dict[str, Any]
    ) -> Reply:
        worker = run.worker
        if worker is None or not worker.sending:
            raise StopUser
        tokens = max_tokens or worker.spec.max_tokens
        asked = body(prompt, api=api, options={**worker.spec.request_options(tokens), **options})
        asked["model"] = model or worker.next_model()
        record, text = worker.exchange(asked, api=api, asked_tokens=tokens, keep_text=True)
        self.report(record)
        return Reply(text, record)
