"""The next request of a worker: its prompt, its lengths, and the model where a trace says so.

Prompts come from a file, from words of a counted length (`token_texts.py`), or from a trace. All draws are seeded by
worker, so a run can be repeated. Refuses, before the run, a trace that asks for models which are not served, and one
that has lengths only where the server's tokenizer could not be learned.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from load_tests.options import LoadSpec, RunManifest
from load_tests.traffic.prompts import Prompt, as_messages, body, read_prompts, shuffled
from load_tests.traffic.token_texts import TokenTexts
from load_tests.traffic.trace import TraceRow
from nemostack.errors import BadInput


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request to send; `input_tokens` is None where nobody counted, `model` where the mix decides."""

    prompt: Prompt
    output_tokens: int
    input_tokens: int | None = None
    model: str | None = None

    def body(self, spec: LoadSpec, model: str) -> dict[str, Any]:
        """Make the body that is sent."""
        return {
            "model": model,
            **body(self.prompt, api=spec.api, options=spec.request_options(self.output_tokens)),
        }


@dataclass(slots=True)
class Conversation:
    """A chat of several questions to one model; each carries what was said before it."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    model: str | None = None
    turn: int = 0

    def ask(self, planned: PlannedRequest) -> PlannedRequest:
        """Put the next question behind what was said. How many tokens all of it has is known of the first alone."""
        self.turn += 1
        self.messages = [*self.messages, *as_messages(planned.prompt)]
        return replace(planned, prompt=self.messages, input_tokens=planned.input_tokens if self.turn == 1 else None)

    def answer(self, text: str) -> None:
        """Put the answer behind it."""
        self.messages = [*self.messages, {"role": "assistant", "content": text}]


class Planner:
    """Plans the requests of one worker."""

    def __init__(self, manifest: RunManifest, *, worker: int = 0) -> None:
        self.spec, self._texts = manifest.spec, manifest.token_texts
        spec = manifest.spec
        self._rng = random.Random(f"lengths:{spec.seed}:{worker}")
        self._prefixes = _prefixes(spec, self._texts)
        self._prompts: Iterator[tuple[Prompt, int | None]]
        if spec.input_tokens is not None:
            self._prompts = self._counted()
        else:
            rows = read_prompts(spec.prompts, spec.prompt_column, api=spec.api)
            self._prompts = shuffled(rows, unique_prefix=spec.unique_prefix, seed=spec.seed, worker=worker)

    def next(self, row: TraceRow | None = None) -> PlannedRequest:
        """Plan a request; `row`: the one of the trace that is due."""
        lengths = self.spec.output_tokens
        output = self.spec.max_tokens if lengths is None else lengths.draw(self._rng)
        if row is None:
            prompt, tokens = next(self._prompts)
            return PlannedRequest(prompt, output, tokens)
        output = row.output_tokens or output
        if row.prompt is not None:
            return PlannedRequest(row.prompt, output, None, row.model)
        if row.input_tokens is not None and self._texts is not None:
            text, tokens = self._texts.text(row.input_tokens, self._rng, prefix=self._prefix())
            return PlannedRequest(text, output, tokens, row.model)
        prompt, tokens = next(self._prompts)
        return PlannedRequest(prompt, output, tokens, row.model)

    def _prefix(self) -> Sequence[str]:
        return self._rng.choice(self._prefixes) if self._prefixes else ()

    def _counted(self) -> Iterator[tuple[Prompt, int | None]]:
        assert self._texts is not None
        assert self.spec.input_tokens is not None
        while True:
            yield self._texts.text(self.spec.input_tokens.draw(self._rng), self._rng, prefix=self._prefix())


def _prefixes(spec: LoadSpec, texts: TokenTexts | None) -> list[Sequence[str]]:
    if texts is None or not spec.shared_prefix:
        return []
    rng = random.Random(f"prefixes:{spec.seed}")  # the same for all workers
    return [texts.prefix(spec.shared_prefix, rng) for _ in range(spec.prefix_groups)]


def due_rows(spec: LoadSpec, rows: Sequence[TraceRow]) -> list[TraceRow]:
    """Return the rows of the trace that are due before the window's end."""
    end = spec.warmup_s + spec.duration_s
    return [row for row in rows if row.at_s < end]


def check(spec: LoadSpec, served: Sequence[str], rows: Sequence[TraceRow] = ()) -> None:
    """Refuse what cannot be sent, before anything is. `rows`: those of the trace that are due. Raises BadInput."""
    if spec.trace is None:
        if spec.input_tokens is None:
            read_prompts(spec.prompts, spec.prompt_column, api=spec.api)
        return
    if unknown := sorted({row.model for row in rows if row.model is not None} - set(served)):
        raise BadInput(
            f"{spec.trace} asks for {', '.join(unknown)}, and this run has {', '.join(served)}: load these models, "
            "name them with --adapters, or take the key out of the trace for the models of --mix"
        )
    if spec.api != "chat" and any(isinstance(row.prompt, list) for row in rows):
        raise BadInput(f'{spec.trace} has "messages", which are not for the completions API; use --api chat')


def needs_token_texts(spec: LoadSpec, rows: Sequence[TraceRow]) -> bool:
    """Whether texts of a counted length are made in this run."""
    if spec.trace is not None:
        return any(row.input_tokens is not None and row.prompt is None for row in rows)
    return spec.input_tokens is not None
