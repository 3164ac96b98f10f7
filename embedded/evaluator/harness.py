"""Academic benchmarks: the real lm-eval harness, run in a process of its own (harness_worker.py).

A process, because it imports torch and datasets (seconds, hundreds of MB) and must die on cancel. The key of the model
reaches it by environment. Answers are cached per task, so that a restart asks only for what is missing. Data come from
the task's `dataset.files_url`, whose rows have the benchmark's own columns, or from where benchmark_tasks.py says.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import httpx

from embedded.evaluator.custom import Outcome, Run
from embedded.evaluator.endpoint import Endpoint
from embedded.evaluator.errors import DataError, EvaluationError
from embedded.evaluator.models import find_model
from embedded.evaluator.plan import TaskPlan
from embedded.evaluator.records import replace_lines
from embedded.evaluator.request_models import ApiEndpoint, Target
from embedded.evaluator.rows import RowSource, read_file
from embedded.evaluator.stats import score
from nemostack.clients.tls import shared_context
from nemostack.clone import ROOT

_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
# What `params.extra` may hold, and what it is for.
EXTRA = {
    "num_fewshot": "examples before each question",
    "tokenizer": "tokenizer of the model, for likelihood benchmarks: a model id that the settings know, or a Hub id",
    "model_type": "`chat` or `completions`",
    "seed": "of the examples' choice",
    "batch_size": "accepted, not used: requests are single and concurrent",
    "tokenizer_backend": "accepted, not used",
    "hf_token": "ignored: set HF_TOKEN for the service",
}


class BenchmarkTask:
    """One benchmark of one job."""

    def __init__(self, plan: TaskPlan, target: Target, run: Run) -> None:
        self._plan, self._target, self._run = plan, target, run

    def execute(self) -> Outcome:
        """Run the harness. EvaluationError fails the job, Stopped ends it."""
        model = find_model(self._target.model, self._run.settings)
        self._run.folder.mkdir(parents=True, exist_ok=True)
        spec = self._spec(model)
        path = self._run.folder / "spec.json"
        path.write_text(json.dumps(spec, indent=1))
        self._run.log(f"task {self._plan.name}: starting lm-eval's {self._plan.benchmark} on {model.model_id}")
        self._run_worker(path, model, offline=spec["offline"])
        report = json.loads((self._run.folder / "report.json").read_text())
        samples = read_file(self._run.folder / "harness_samples.jsonl")
        data = report["data"]
        if note := data.get("note"):
            self._run.log(f"task {self._plan.name}: {note}")
        metrics, groups = _metrics(report["results"], samples), _metric_tree(report.get("groups"))
        return Outcome(metrics, samples, groups=groups, data=data)

    def partial_samples(self) -> list[dict[str, Any]]:
        """None: lm-eval scores all at its end; answers so far stay in its cache."""
        return []

    def _spec(self, model: Endpoint) -> dict[str, Any]:
        params = self._plan.params
        extra = params.extra
        if "hf_token" in extra:
            self._run.log("warning: params.extra: hf_token is ignored: set HF_TOKEN for the service")
        if unknown := sorted(set(extra) - set(EXTRA)):
            self._run.log(f"warning: params.extra: {', '.join(unknown)} is ignored; known are {', '.join(EXTRA)}")
        if extra.get("model_type", "chat") not in {"chat", "completions"}:
            raise DataError(f"params.extra.model_type: {extra['model_type']!r}; expected chat or completions")
        served = asyncio.run(_served(model))
        if served and model.model_id not in served:
            raise EvaluationError(
                f"model {model.model_id} is not at {model.root}; models there: {', '.join(sorted(served))}"
            )
        about = served.get(model.model_id, {})
        files = self._data_files()
        return {
            "benchmark": self._plan.benchmark,
            "model": model.model_id,
            "root": model.root,
            "model_type": extra.get("model_type") or ("completions" if self._wants_completions() else None),
            "tokenizer": self._tokenizer(model.model_id, about),
            "max_length": about.get("max_model_len") or 2048,
            "num_fewshot": extra.get("num_fewshot"),
            "seed": extra.get("seed", 1234),
            "limit": params.limit_samples,
            "parallelism": params.parallelism,
            "timeout": params.request_timeout,
            "attempts": params.max_retries + 1,
            "generation": {
                key: value
                for key, field, value in (
                    ("max_gen_toks", "max_tokens", params.max_tokens),
                    ("temperature", "temperature", params.temperature),
                    ("top_p", "top_p", params.top_p),
                )
                if value is not None and (not self._plan.runs_code or field in params.model_fields_set)
            },
            "stop": [params.stop] if isinstance(params.stop, str) else params.stop,
            "data_files": files,
            "offline": bool(files) or not _hub_answers(),
            "runs_code": self._plan.runs_code,
            "folder": str(self._run.folder),
        }

    def _wants_completions(self) -> bool:
        """Whether texts are to be continued where chat would do too: the target's own URL says so, or the task does."""
        if self._plan.runs_code and "instruct" not in self._plan.benchmark:
            return True  # HumanEval's prompts are beginnings of programs
        api = getattr(self._target.model, "api_endpoint", None)
        return isinstance(api, ApiEndpoint) and re.search(r"(?<!/chat)/completions/?$", api.url) is not None

    def _tokenizer(self, model_id: str, about: dict[str, Any]) -> str | None:
        """Of the model itself, else of the model that it adapts."""
        known = self._run.settings.tokenizers
        if (asked := self._plan.params.extra.get("tokenizer")) is not None:
            if asked not in known and (not isinstance(asked, str) or asked.startswith(("/", ".", "~"))):
                raise DataError(f"params.extra.tokenizer: {asked!r}; expected a model id or a Hub id, no path")
            return str(known.get(asked, asked))
        return next((known[name] for name in (model_id, about.get("parent"), about.get("root")) if name in known), None)

    def _data_files(self) -> dict[str, str]:
        """Split -> file. A single file is the split that is evaluated (worker's word for it: `eval`)."""
        if self._plan.dataset is None:
            return {}
        folder = self._run.folder / "data"
        files = {path.stem: str(path) for path in sorted(folder.glob("*.jsonl"))}
        if files:  # fixed at the first start
            return files
        source = RowSource(self._run.settings)
        dataset = source.dataset(self._plan.dataset)
        paths = source.download(dataset, self._run.folder / "download")
        folder.mkdir(exist_ok=True)
        by_split: dict[str, list[dict[str, Any]]] = {}
        for path in paths:
            names = (path.stem, path.parent.name)
            split = "eval" if len(paths) == 1 else next((_SPLITS[name] for name in names if name in _SPLITS), None)
            if split is None:
                raise DataError(f"{dataset.files_url}: {path.name} names no split; expected train, validation or test")
            by_split.setdefault(split, []).extend(read_file(path))
        for split, rows in by_split.items():
            replace_lines(folder / f"{split}.jsonl", rows[: dataset.limit] if split in {"eval", "test"} else rows)
        return {split: str(folder / f"{split}.jsonl") for split in by_split}

    def _run_worker(self, spec: Path, model: Endpoint, *, offline: bool) -> None:
        environment = os.environ | {
            "OPENAI_API_KEY": model.api_key or "",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
        environment |= {
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_DATASETS_CACHE": str(self._run.folder.parents[2] / "datasets"),
        }
        if offline:
            environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        with (self._run.folder / "harness.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "embedded.evaluator.harness_worker", str(spec)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        last: dict[str, Any] = {}
        reader = threading.Thread(target=self._follow, args=(worker, last), daemon=True)
        reader.start()
        try:
            while worker.poll() is None:
                self._run.stop.wait(0.2)
                self._run.check()
        finally:
            if worker.poll() is None:
                worker.terminate()
                try:
                    worker.wait(2)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()
            reader.join(5)
        if worker.returncode != 0:
            raise EvaluationError(self._explain(last.get("error", ""), worker.returncode, model, offline=offline))

    def _follow(self, worker: "subprocess.Popen[str]", last: dict[str, Any]) -> None:
        assert worker.stdout is not None
        with worker.stdout as lines:
            for line in lines:
                if line.startswith("{"):
                    message = json.loads(line)
                    last.update(message)
                    if "done" in message:
                        self._run.progress(message["done"], message["total"])

    def _explain(self, problem: str, status: int, model: Endpoint, *, offline: bool) -> str:
        what = f"benchmark {self._plan.benchmark} on {model.model_id}"
        if not problem:
            return f"{what}: lm-eval ended with status {status}; its last words: {self._last_words()}"
        if offline and self._plan.dataset is None and "dataset" in problem:
            return (
                f"{what}: the Hugging Face hub was not reachable and its data are not in the cache ({problem}). "
                f"Upload rows with the benchmark's columns to the Data Store and set "
                f"config.tasks.{self._plan.name}.dataset.files_url"
            )
        return f"{what}: {problem}"

    def _last_words(self) -> str:
        lines = (self._run.folder / "harness.log").read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[:600] or "none"


async def _served(model: Endpoint) -> dict[str, dict[str, Any]]:
    async with httpx.AsyncClient(timeout=10, verify=shared_context(httpx)) as client:
        return {str(one["id"]): one for one in await model.served(client)}


def _hub_answers() -> bool:
    """Whether the hub can be reached at all; lm-eval itself would try for minutes."""
    try:
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        return httpx.head(hub, timeout=5, verify=shared_context(httpx)).status_code < 500
    except httpx.HTTPError:
        return False


def _metrics(results: dict[str, float], samples: list[dict[str, Any]]) -> dict[str, Any]:
    """lm-eval's own values; stats where each item has the score."""
    metrics = {}
    for name, value in results.items():
        values = [sample["scores"].get(f"{name}.{name}") for sample in samples]
        whole = [v for v in values if v is not None]
        one = score(whole, value) if len(whole) == len(values) and values else {"value": value}
        metrics[name] = {"scores": {name: one}}
    return metrics


def _metric_tree(groups: Any) -> dict[str, Any] | None:
    """Results of a benchmark's parts, as a group with one subgroup for each."""
    if not groups:
        return None
    parts = cast("dict[str, dict[str, float]]", groups)
    return {name: {"metrics": _metrics(results, [])} for name, results in parts.items()}
