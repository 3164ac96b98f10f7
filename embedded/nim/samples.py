"""A sample of what an alias is asked and what it answers, for `nemostack watch`: off unless somebody asks for it.

    PUT, GET, DELETE /v1/aliases/{name}/samples     GET ...?after=N: those after the N-th

Kept in memory alone: the newest `keep`, each text cut to MOST_CHARACTERS, for as long as somebody goes on reading:
after IDLE_S without a look all is dropped, and so it is with DELETE and at the end of the process. Of a request only
the last question is kept, no `user`, no header, no earlier turns. Whoever reaches this server can read them, as he can
ask its models. Refuses answers that are no text, such as calls of tools, and failures.
"""

import json
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nemostack.aliases import Sampled, Sampling

MOST_CHARACTERS = 4000
MOST_BYTES = 512 * 1024
IDLE_S = 900.0


class Sampler:
    """The sample of one alias."""

    def __init__(self, how: Sampling, clock: Callable[[], float] = time.monotonic) -> None:
        self.how, self._clock = how, clock
        self.taken = 0
        self._rows: deque[Sampled] = deque(maxlen=how.keep)
        self._read_at = clock()

    @property
    def idle(self) -> bool:
        """Whether nobody has looked for so long that all is to be dropped."""
        return self._clock() - self._read_at > IDLE_S

    def draw(self) -> bool:
        """Decide by lot whether a request is sampled."""
        return random.random() < self.how.share

    def add(self, model: str, asked: dict[str, Any], answer: bytes) -> None:
        """Keep a question and its answer, if both are text."""
        prompt, text = question_of(asked), answer_of(answer)
        if not prompt or not text:
            return
        self.taken += 1
        cut = MOST_CHARACTERS
        row = Sampled(number=self.taken, at=datetime.now(UTC), model=model, prompt=prompt[:cut], answer=text[:cut])
        self._rows.append(row)

    def after(self, number: int) -> list[Sampled]:
        """Return those that came after the one of this number; somebody is looking."""
        self._read_at = self._clock()
        return [row for row in self._rows if row.number > number]


class SampleBook:
    """All samplers by alias; in memory, so that a restart ends them."""

    def __init__(self) -> None:
        self._samplers: dict[str, Sampler] = {}

    def begin(self, alias: str, how: Sampling) -> None:
        """Begin anew: what was sampled before is dropped."""
        self._samplers[alias] = Sampler(how)

    def end(self, alias: str) -> bool:
        """Drop everything; False when nothing was sampled."""
        return self._samplers.pop(alias, None) is not None

    def get(self, alias: str) -> Sampler | None:
        """Return the sampler of an alias that somebody still reads."""
        sampler = self._samplers.get(alias)
        if sampler is not None and sampler.idle:
            self.end(alias)
            return None
        return sampler


def question_of(asked: dict[str, Any]) -> str:
    """Return the last thing that the user said, or the prompt."""
    messages = asked.get("messages")
    if isinstance(messages, list):
        said = [one.get("content") for one in messages if isinstance(one, dict) and one.get("role") == "user"]
        return _text(said[-1]) if said else ""
    return _text(asked.get("prompt"))


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def answer_of(body: bytes) -> str:
    """Put the text of an answer together: of a whole one, or of a stream of events."""
    if body.lstrip().startswith(b"data:"):
        lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        return "".join(_of_choice(line) for line in lines if line != b"[DONE]")
    return _of_choice(body)


def _of_choice(body: bytes) -> str:
    try:
        choice = json.loads(body)["choices"][0]
        said = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        return _text(said.get("content"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
