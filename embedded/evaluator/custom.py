"""Runs one custom task: asks the model (and the judges), then scores all items at once.

What came back is appended to `outputs.jsonl` at once; a task that starts again asks only for what is missing there.
The rows are fixed at the first start (`items.jsonl`). Cancelling is noticed within a fifth of a second.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from embedded.common.job_queue import Stopped
from embedded.evaluator.endpoint import Endpoint, Style, output_text
from embedded.evaluator.errors import DataError, EvaluationError, ItemError, NoAnswerError
from embedded.evaluator.metrics import LlmJudge
from embedded.evaluator.metrics.base import Scores
from embedded.evaluator.models import find_model
from embedded.evaluator.outputs import given_output, with_output
from embedded.evaluator.plan import TaskPlan
from embedded.evaluator.records import Records, replace_lines
from embedded.evaluator.request_models import Params, Target
from embedded.evaluator.rows import Row, RowSource, read_file
from embedded.evaluator.settings import Settings
from embedded.evaluator.templates import render_tree
from embedded.evaluator.window import Window
from nemostack.clients.tls import shared_context

_JUDGE_DEFAULTS = {"max_tokens": 512, "temperature": 0.0}
_MODEL = "the model"
_GIVE_UP = 8
"""Items in a row for which a judge gives no answer, after all retries: then it is taken for dead."""


@dataclass(frozen=True)
class Run:
    """What a running task needs from its job."""

    settings: Settings
    folder: Path
    stop: threading.Event
    log: Callable[[str], None]
    progress: Callable[[int, int], None]

    def check(self) -> None:
        """Raise Stopped once the job is to end."""
        if self.stop.is_set():
            raise Stopped


@dataclass(frozen=True)
class Outcome:
    """What a task gives: results by metric, and a record for each item."""

    metrics: dict[str, Any]
    samples: list[dict[str, Any]]
    failed_items: int = 0
    first_error: str = ""
    groups: dict[str, Any] | None = None
    cut_items: int = 0  # outputs that the model ended with finish_reason `length`
    data: dict[str, Any] | None = None  # of a benchmark: where its questions come from
    gaps: tuple[str, ...] = ()  # what judges did not rate, in sentences


class CustomTask:
    """One task of one job."""

    def __init__(self, plan: TaskPlan, target: Target, run: Run) -> None:
        self._plan, self._target, self._run = plan, target, run
        self._records = Records(run.folder / "outputs.jsonl")
        self._outputs: dict[int, dict[str, Any]] = {}
        self._replies: dict[tuple[int, str], str | None] = {}
        self._items: list[Row] = []
        self._judges = {name: metric for name, metric in plan.metrics.items() if isinstance(metric, LlmJudge)}
        self._silent = dict.fromkeys(self._judges, 0)
        self._judge_errors: dict[str, str] = {}
        self._windows: dict[str, Window] = {}

    def execute(self) -> Outcome:
        """Generate, judge, score. EvaluationError fails the job, Stopped ends it."""
        self._items = self._load_items()
        for record in self._records.read():
            if "judge" in record:
                self._replies[record["index"], record["judge"]] = record["reply"]
            else:
                self._outputs[record["index"]] = record["sample"]
        if self._plan.kind == "data":
            self._outputs = {index: given_output(item) or {} for index, item in enumerate(self._items)}
        elif self._outputs:
            self._run.log(f"task {self._plan.name}: going on after {len(self._outputs)} finished outputs")
        self._rehearse()
        threading.Thread(target=self._warm, daemon=True).start()  # beside the generations, which only wait
        try:
            asyncio.run(self._ask_all())
        finally:
            self._records.close()
        return self._score()

    def partial_samples(self) -> list[dict[str, Any]]:
        """Give records of what was finished, without scores."""
        return [self._sample(index, {}) for index in sorted(self._outputs) if index < len(self._items)]

    def _load_items(self) -> list[Row]:
        kept = self._run.folder / "items.jsonl"
        if kept.exists():
            return read_file(kept)
        source, limit = RowSource(self._run.settings), self._plan.params.limit_samples
        target, dataset = self._target, self._plan.dataset
        if target.type == "cached_outputs" and target.cached_outputs is not None:
            outputs = source.read(target.cached_outputs.files_url, limit)
            items = source.read(dataset, limit) if dataset is not None else outputs
            if len(items) != len(outputs):
                raise DataError(
                    f"task {self._plan.name}: {len(outputs)} cached outputs for {len(items)} rows of the dataset"
                )
            items = [with_output(item, output, self._plan.name) for item, output in zip(items, outputs, strict=True)]
        elif dataset is not None:
            items = source.read(dataset, limit)
        elif target.type == "dataset" and target.dataset is not None:
            items = source.read(target.dataset, limit)
        else:
            items = (target.rows or [])[:limit]
        if not items:
            raise DataError(f"task {self._plan.name}: the dataset has no rows")
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_lines(kept, items)
        return items

    def _context(self, index: int) -> dict[str, Any]:
        return {"item": self._items[index], "sample": self._outputs.get(index, {"output_text": "", "response": {}})}

    def _rehearse(self) -> None:
        for metric in self._plan.metrics.values():
            metric.rehearse(self._context(0))

    def _warm(self) -> None:
        for metric in self._plan.metrics.values():
            if self._run.stop.is_set():
                return
            metric.warm()

    # --- asking ---

    async def _ask_all(self) -> None:
        plan, where = self._plan, f"task {self._plan.name}"
        style = _style(plan)
        model, bodies = None, []
        if plan.kind != "data":
            model = find_model(self._target.model, self._run.settings)
            bodies = [
                _body(plan.template, {"item": item}, style, plan.params, f"{where}: row {n}")
                for n, item in enumerate(self._items, 1)
            ]
        judges = {name: find_model(judge.params.model, self._run.settings) for name, judge in self._judges.items()}
        for name, judge in judges.items():
            await self._meet(name, judge)
        asked = [_MODEL, *(f"judge {name}" for name in judges)]
        self._windows = {name: Window(plan.params.parallelism, plan.params.request_timeout) for name in asked}
        todo = iter(range(len(self._items)))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=plan.params.parallelism)
        async with httpx.AsyncClient(
            limits=limits, timeout=plan.params.request_timeout, verify=shared_context(httpx)
        ) as client:

            async def work() -> None:
                for index in todo:
                    if index not in self._outputs:
                        assert model is not None
                        sample = await self._generate(client, model, style, bodies[index])
                        self._outputs[index] = sample
                        self._records.append({"index": index, "sample": sample})
                    if "error" not in self._outputs[index]:
                        for name, judge in judges.items():
                            if (index, name) not in self._replies:
                                await self._judge(client, index, name, judge)
                    self._run.progress(*self._done())

            await self._until_stopped([work() for _ in range(min(plan.params.parallelism, len(self._items)))])
        for name, window in self._windows.items():
            if remark := window.remark():
                self._run.log(f"task {plan.name}: {name}: {remark}")

    async def _meet(self, name: str, judge: Endpoint) -> None:
        """Find out before anything is asked that a judge is not there; lets it load its model meanwhile."""
        async with httpx.AsyncClient(verify=shared_context(httpx)) as client:
            served = [str(model["id"]) for model in await judge.served(client)]
        if served and judge.model_id not in served:
            raise EvaluationError(
                f"judge of metric {name}: {judge.model_id} is not at {judge.root}; models there: {', '.join(served)}"
            )

    async def _until_stopped(self, work: list[Any]) -> None:
        """Await all of `work`; the first failure, or the stop event, cancels the rest."""
        tasks = [asyncio.ensure_future(one) for one in work]
        waiting = set(tasks)
        try:
            while waiting:
                self._run.check()
                done, waiting = await asyncio.wait(waiting, timeout=0.2, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _generate(
        self, client: httpx.AsyncClient, model: Endpoint, style: Style, body: dict[str, Any]
    ) -> dict[str, Any]:
        began = time.monotonic()
        try:
            answer = await model.ask(client, style, body, self._plan.params, self._windows[_MODEL])
        except ItemError as error:
            return {"output_text": "", "error": str(error)}
        return {
            "output_text": output_text(style, answer),
            "latency_s": round(time.monotonic() - began, 4),
            "usage": answer.get("usage"),
            "finish_reason": answer["choices"][0].get("finish_reason"),
            "response": {"choices": answer["choices"][:1]},
        }

    async def _judge(self, client: httpx.AsyncClient, index: int, name: str, judge: Endpoint) -> None:
        metric = self._judges[name]
        body = _body(metric.params.template, self._context(index), "chat", None, f"{metric.where}: row {index + 1}")
        reply: str | None = None
        try:
            answer = await judge.ask(
                client, "chat", _JUDGE_DEFAULTS | body, self._plan.params, self._windows[f"judge {name}"]
            )
            reply = output_text("chat", answer)
            self._silent[name] = 0
        except (ItemError, NoAnswerError) as error:
            self._miss(name, index, error)
        except EvaluationError as error:
            raise EvaluationError(f"judge of metric {name}: {error}") from error
        self._replies[index, name] = reply
        self._records.append({"index": index, "judge": name, "reply": reply})

    def _miss(self, name: str, index: int, error: EvaluationError) -> None:
        """Note an item that a judge did not rate. EvaluationError when it has answered none for long."""
        self._judge_errors.setdefault(name, str(error))
        self._run.log(f"judge {name}, row {index + 1}: {error}")
        if isinstance(error, NoAnswerError):
            self._silent[name] += 1
            if self._silent[name] >= _GIVE_UP:
                raise EvaluationError(f"judge of metric {name}: no answer for {_GIVE_UP} rows in a row: {error}")

    def _gap(self, name: str, good: list[int], scores: Scores) -> str:
        """Say how many items a judge did not rate, and why; empty if none."""
        silent = {place for place, index in enumerate(good) if self._replies.get((index, name)) is None}
        if len(silent) == len(good):
            reason = self._judge_errors.get(name, "see the job's log")
            raise EvaluationError(f"judge of metric {name}: none of {len(good)} rows got a reply; the first: {reason}")
        unrated = {place for values in scores.values() for place, value in enumerate(values) if math.isnan(value)}
        remarks = []
        if unread := len(unrated - silent):
            remarks.append(f"{unread} replies without a rating that counts")
        if silent:
            first = f"; the first: {self._judge_errors[name]}" if name in self._judge_errors else ""
            remarks.append(f"{len(silent)} rows without a reply{first}")
        return f"judge {name} did not rate {len(unrated)} of {len(good)} rows: {', '.join(remarks)}" if remarks else ""

    def _done(self) -> tuple[int, int]:
        finished = len(self._outputs)
        if self._judges:
            finished = min(
                finished,
                len(self._replies) // len(self._judges) + sum("error" in sample for sample in self._outputs.values()),
            )
        return finished, len(self._items)

    # --- scoring ---

    def _score(self) -> Outcome:
        count = len(self._items)
        good = [index for index in range(count) if "error" not in self._outputs[index]]
        errors = [self._outputs[index]["error"] for index in range(count) if "error" in self._outputs[index]]
        if not good:
            raise EvaluationError(
                f"task {self._plan.name}: none of {count} items could be answered; the first error: {errors[0]}"
            )
        contexts = [self._context(index) for index in good]
        metrics: dict[str, Any] = {}
        per_item: list[dict[str, float | None]] = [{} for _ in range(count)]
        gaps: list[str] = []
        for name, metric in self._plan.metrics.items():
            self._run.check()
            began = time.monotonic()
            if isinstance(metric, LlmJudge):
                by_score = metric.score_replies([self._replies.get((index, name)) for index in good])
                gaps.append(self._gap(name, good, by_score))
            else:
                by_score = metric.score_items(contexts)
            self._run.log(
                f"task {self._plan.name}: metric {name} of {len(good)} items in {time.monotonic() - began:.2f} s"
            )
            padded = {key: _spread(values, good, count) for key, values in by_score.items()}
            metrics[name] = {"scores": metric.results(padded)}
            for key, values in padded.items():
                for index, value in enumerate(values):
                    per_item[index][f"{name}.{key}"] = None if math.isnan(value) else value
        samples = [self._sample(index, per_item[index]) for index in range(count)]
        cut = sum(self._outputs[index].get("finish_reason") == "length" for index in good)
        if cut:
            self._run.log(f"task {self._plan.name}: {cut} of {count} outputs were cut by their limit of tokens")
        first, told = errors[0] if errors else "", tuple(gap for gap in gaps if gap)
        return Outcome(metrics, samples, len(errors), first, cut_items=cut, gaps=told)

    def _sample(self, index: int, scores: dict[str, float | None]) -> dict[str, Any]:
        sample = {key: value for key, value in self._outputs[index].items() if key != "response"}
        tool_calls = _tool_calls(self._outputs[index])
        replies = {name: self._replies[index, name] for name in self._judges if (index, name) in self._replies}
        sample |= ({"tool_calls": tool_calls} if tool_calls else {}) | ({"judges": replies} if replies else {})
        return {"index": index, "item": self._items[index], "sample": sample, "scores": scores}


def _style(plan: TaskPlan) -> Style:
    """Messages make a chat, also in a task of type `completion`, as NVIDIA's notebooks have it."""
    is_chat = plan.kind == "chat-completion" or (isinstance(plan.template, dict) and "messages" in plan.template)
    return "chat" if is_chat else "completion"


def _spread(values: list[float], at: list[int], count: int) -> list[float]:
    """`values` at the places `at` of a list with `count` places, NaN elsewhere."""
    spread = [math.nan] * count
    for index, value in zip(at, values, strict=True):
        spread[index] = value
    return spread


def _tool_calls(sample: dict[str, Any]) -> Any:
    choices = (sample.get("response") or {}).get("choices") or [{}]
    return (choices[0].get("message") or {}).get("tool_calls")


def _body(template: Any, context: dict[str, Any], style: Style, params: Params | None, where: str) -> dict[str, Any]:
    """Make the request for one item: the rendered template over the inference parameters."""
    rendered = render_tree(template, context, where)
    key = "messages" if style == "chat" else "prompt"
    if not isinstance(rendered, dict):
        rendered = {
            key: [{"role": "user", "content": rendered}] if style == "chat" and isinstance(rendered, str) else rendered
        }
    if key not in rendered or not isinstance(rendered[key], list if style == "chat" else str):
        raise DataError(
            f"{where}: the template gives no {key!r} ({'a list of messages' if style == 'chat' else 'text'})"
        )
    inference = (
        {}
        if params is None
        else params.model_dump(include={"max_tokens", "temperature", "top_p", "stop"}, exclude_none=True)
    )
    return inference | rendered
