"""A whole stack in one thread, small enough to be understood at a glance: what the harness may see, and no more.

Real sockets, so the official clients run unchanged. Scores follow from the job's config: the base model without
examples scores about 0.3, with examples 0.5, a tuned model 0.7. Tests look at `requests`, change the state between
requests, and hang `hooks` on them: a hook is called once, before the first matching request is answered.
"""

import io
import json
import os
import re
import signal
import sys
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from nemostack.outputs import StackOutputs
from tests.unit.fake_data_store import DATA_STORE_ROUTES, Answer, FakeDataStore
from tests.unit.fake_entity_store import ENTITY_STORE_ROUTES, NO_RETRY, FakeEntityStore, not_found

BASE = "base/model"
CONFIG = "base/model@v1"


class FakeStack(FakeEntityStore, FakeDataStore):
    """The services' state, and routes over it."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.hooks: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        self.query: dict[str, str] = {}
        super().__init__()
        self.evaluations: dict[str, dict[str, Any]] = {}
        self.benchmarks: dict[str, str] = {}  # lm-eval task -> metric; others have one score and no items
        self.benchmark_data: dict[str, Any] = {
            "origin": "nemostack substitute",
            "published": False,
            "note": "these are our own questions",
        }
        self.customizations: dict[str, dict[str, Any]] = {}
        self.judge: Callable[[dict[str, Any], str, str], float | None] = lambda _row, _prompt, _score: 3.0
        self.level_of_shots: dict[int, float] = {}
        self.embeddings: dict[str, list[float]] | None = None
        self.looks_needed = 1
        self.samples = True
        self.cut_answers = 0
        self.tokens_per_character: float | None = None
        self.context: int | None = None
        self.down: set[str] = set()
        self.target = "fake"
        self.base_model = BASE
        self.sent_hyperparameters: dict[str, Any] = {}
        self.loss_after: Callable[[dict[str, Any], int], float] | None = None  # of a job, after so many looks
        self.failure_of: Callable[[dict[str, Any]], str] = lambda _hyperparameters: ""
        self.aliases: dict[str, Any] | None = {}  # None: a NIM that has none to set
        self.late_by = 0  # requests by an alias that are answered 500 before the router knows it
        self.samplings: dict[str, Any] = {}
        self.traffic: list[dict[str, Any]] = []  # what users of an alias have asked
        self.broken_models: set[str] = set()
        self.says = "Hello you"  # whatever is asked, and of any model
        self.refusal = ""  # why NIM does not serve an adapter; it says so in its answer on the model
        self._server = _Server(_handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop. Raises ExceptionGroup when a request met something that the fake does not know how to answer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._server.failures:
            raise ExceptionGroup("the fake stack itself failed", self._server.failures)

    @property
    def outputs(self) -> StackOutputs:
        return StackOutputs(
            target=self.target,
            nemo_url=self.url,
            data_store_url=f"{self.url}/ds",
            nim_url=f"{self.url}/nim",
            nim_internal_url="http://nim.internal:8000",
            mlflow_url=f"{self.url}/mlflow",
            judge_url=f"{self.url}/judge",
            judge_model="a/judge",
            base_model=self.base_model,
            customization_config=CONFIG,
            log_commands={},
        )

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def on(self, pattern: str, hook: Callable[[], object]) -> None:
        self.hooks.append((re.compile(pattern), hook))

    def interrupt_on(self, pattern: str, after: str | None = None) -> None:
        """Press Ctrl-C when such a request arrives (once `after` has been seen); it is answered all the same."""
        if after is None:
            self.on(pattern, lambda: os.kill(os.getpid(), signal.SIGINT))
        else:
            self.on(after, lambda: self.interrupt_on(pattern))

    def served(self) -> list[str]:
        return [self.base_model, *([] if self.refusal else self._uploaded())]

    def _uploaded(self) -> list[str]:
        return [m for m, e in self.models.items() if e.get("artifact", {}).get("status") == "upload_completed"]

    # --- routes ---

    def answer(self, method: str, target: str, body: bytes) -> Any:
        parts = urlsplit(target)
        path = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query))
        line = f"{method} {path}"
        self.requests.append(line)
        for hook in [hook for hook in self.hooks if hook[0].search(line)]:
            self.hooks.remove(hook)
            hook[1]()
        for service in self.down:
            if path.startswith(service):
                raise Answer(503, {"detail": "no upstream"})
        for route, handle in _ROUTES:
            match = re.fullmatch(route, line)
            if match:
                return handle(self, body, *match.groups())
        raise Answer(404, {"detail": f"no route {line}"})

    def add_evaluation(self, body: bytes) -> Any:
        raw = json.loads(body)
        job = {**raw, "id": f"eval-{len(self.evaluations) + 1}", "status": "created", "looks": 0}
        self.evaluations[job["id"]] = job
        return job

    def add_customization(self, body: bytes) -> Any:
        raw = json.loads(body)
        job_id = f"cust-{len(self.customizations) + 1}"
        self.sent_hyperparameters = raw["hyperparameters"]
        own = {"learning_rate": 1e-4, "batch_size": 8, **raw["hyperparameters"]}  # says what it chose, as NVIDIA's does
        own["lora"] = {"alpha": 16, **own["lora"]}
        job = {
            **raw,
            "hyperparameters": own,
            "id": job_id,
            "status": "created",
            "looks": 0,
            "output_model": f"{raw['output_model']}@{job_id}",
        }
        self.customizations[job_id] = job
        self.models[job["output_model"]] = {
            "artifact": {"status": "created", "files_url": f"hf://models/{job['output_model']}"}
        }
        return job

    def look(self, kind: str, job_id: str) -> Any:
        jobs = {"evaluation": self.evaluations, "customization": self.customizations}[kind]
        job = _found(jobs, job_id)
        job["looks"] += 1
        if job["status"] in {"created", "running"}:
            job["status"] = "completed" if job["looks"] > self.looks_needed else "running"
            if kind == "customization" and (failure := self.failure_of(job["hyperparameters"])):
                job["status"] = "failed"
                job["status_details"] = {"error_message": failure}
                return job
        if kind == "customization":
            if job["status"] == "completed":
                self.models[job["output_model"]]["artifact"]["status"] = "upload_completed"
            losses = [
                {"step": s, "value": 4.0 / (s + 1), "timestamp": "2026-01-01T00:00:00.0"} for s in range(job["looks"])
            ]
            validations = losses[-1:]
            if (loss_after := self.loss_after) is not None:
                validations = [
                    {"step": s, "value": loss_after(job["hyperparameters"], s + 1)} for s in range(job["looks"])
                ]
            metrics = {"keys": ["train_loss"], "metrics": {"train_loss": losses, "val_loss": validations}}
            job["status_details"] = {"steps_completed": job["looks"], "status_logs": [], "metrics": metrics}
        return job

    def jobs(self, kind: str) -> Any:
        jobs = {"evaluation": self.evaluations, "customization": self.customizations}[kind]
        return self.page(reversed(jobs.values()))

    def cancel(self, kind: str, job_id: str) -> Any:
        job = _found({"evaluation": self.evaluations, "customization": self.customizations}[kind], job_id)
        if job["status"] in {"completed", "failed", "cancelled"}:
            detail = f"{kind} job {job_id} is {job['status']} already: there is nothing to cancel"
            raise Answer(409, {"detail": detail}, NO_RETRY)
        job["status"] = "cancelled"
        return job

    def drop_evaluation(self, job_id: str) -> Any:
        _found(self.evaluations, job_id)
        del self.evaluations[job_id]
        raise Answer(204)

    def benchmark_items(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """The base model is right in every second question, a tuned one in every fourth."""
        metric = self.benchmarks[job["config"]["type"]]
        every = 2 if job["target"]["model"]["api_endpoint"]["model_id"] == self.base_model else 4
        return [
            {
                "index": index,
                "item": {"question": f"question {index}?"},
                "sample": {"output_text": f"answer {index}"},
                "scores": {f"{metric}.{metric}": float(index % every == 0)},
            }
            for index in range(job["config"]["params"]["limit_samples"])
        ]

    def item_scores(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        task = job["config"]["tasks"]["answers"]
        address = re.fullmatch(r"hf://datasets/([^/]+)/([^/]+)/(.+)", task["dataset"]["files_url"])
        assert address is not None
        namespace, name, path = address.groups()
        lines = self.repos["dataset", f"{namespace}/{name}"][path].decode().strip("\n").split("\n")
        model = job["target"]["model"]["api_endpoint"]["model_id"]
        template = task["params"]["template"]["messages"]
        turns = template if isinstance(template, list) else json.loads(lines[0])["messages"]
        shots = sum(turn["role"] == "assistant" for turn in turns)
        level = 0.7 if model != self.base_model else self.level_of_shots.get(shots, 0.5 if shots else 0.3)
        samples = []
        for index, line in enumerate(lines[: task["dataset"]["limit"]]):
            score = level + (index % 7 - 3) / 100
            scores = {"rouge.rouge_L_score": score, "bleu.sentence": 100 * score, "f1.f1_score": score}
            if "judge" in task["metrics"]:
                scores |= {f"judge.{name}": 1 + 4 * score for name in task["metrics"]["judge"]["params"]["scores"]}
            samples.append(
                {
                    "index": index,
                    "item": json.loads(line),
                    "sample": {
                        "output_text": f"answer {index}",
                        "finish_reason": "length" if index < self.cut_answers else "stop",
                    },
                    "scores": scores,
                }
            )
        return samples

    def download(self, job_id: str) -> Any:
        job = _found(self.evaluations, job_id)
        if not self.samples:
            raise Answer(404, {"detail": "nothing to download"})
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("results.json", json.dumps(self.results(job_id)))
            kind = job["config"]["type"]
            if kind == "custom":
                [task] = job["config"]["tasks"]
                archive.writestr(f"{task}/samples.jsonl", self.samples_file(job))
            elif kind in self.benchmarks:
                lines = "".join(f"{json.dumps(item)}\n" for item in self.benchmark_items(job))
                archive.writestr(f"{kind}/samples.jsonl", lines)
        return buffer.getvalue()

    def samples_file(self, job: dict[str, Any]) -> str:
        # characters as they are, not escaped: the Evaluator writes them so
        scored = self.judged(job) if job["target"]["type"] == "rows" else self.item_scores(job)
        return "".join(f"{json.dumps(sample, ensure_ascii=False)}\n" for sample in scored)

    def judged(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Score rows that hold their answers by `judge`, which is given the row and the messages of the metric."""
        [task] = job["config"]["tasks"].values()
        return [
            {
                "index": index,
                "item": row,
                "sample": {"output_text": row["output"]},
                "scores": {
                    f"{name}.{score}": self.judge(row, metric["params"]["template"]["messages"][1]["content"], score)
                    for name, metric in task["metrics"].items()
                    for score in metric["params"]["scores"]
                },
            }
            for index, row in enumerate(job["target"]["rows"])
        ]

    def results(self, job_id: str) -> Any:
        job = _found(self.evaluations, job_id)
        if (kind := job["config"]["type"]) in self.benchmarks:
            values = [next(iter(item["scores"].values())) for item in self.benchmark_items(job)]
            mean, metric = sum(values) / len(values), self.benchmarks[kind]
            stats = {"count": len(values), "mean": mean, "variance": mean * (1 - mean)}
            body = {"metrics": {metric: {"scores": {metric: {"value": mean, "stats": stats}}}}}
            return {"tasks": {kind: body | ({"data": self.benchmark_data} if self.benchmark_data else {})}}
        if job["target"]["type"] == "rows":
            return {"tasks": {}}
        if kind != "custom":
            scores = {"exact_match": {"value": 0.25, "stats": {"count": 4, "mean": 0.25}}}
            return {"tasks": {job["config"]["type"]: {"metrics": {"exact_match": {"scores": scores}}}}}
        samples = self.item_scores(job)
        metrics: dict[str, Any] = {}
        for metric, score in (("rouge", "rouge_L_score"), ("bleu", "sentence"), ("f1", "f1_score")):
            values = [sample["scores"][f"{metric}.{score}"] for sample in samples]
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / len(values)
            stats = {"count": len(values), "mean": mean, "variance": variance, "nan_count": 1}
            metrics[metric] = {"scores": {score: {"value": mean, "stats": stats}}}
        return {"tasks": {"answers": {"metrics": metrics}}}

    def nim_model(self, name: str) -> Any:
        if name in self.served():
            return {"id": name, "object": "model", "created": 1, "owned_by": "x"}
        why = f" It is announced, but {self.refusal}" if name in self._uploaded() else ""
        raise Answer(404, {"error": {"message": f"The model `{name}` does not exist.{why}"}})

    def list_aliases(self) -> Any:
        if self.aliases is None:
            raise Answer(404, {"detail": "Not Found"})
        return {"object": "list", "data": [{"name": name, "alias": alias} for name, alias in self.aliases.items()]}

    def set_alias(self, body: bytes, name: str) -> Any:
        assert self.aliases is not None
        alias = json.loads(body)
        for route in alias["routes"]:
            if route["model"] not in self.served():
                raise Answer(409, {"error": {"message": f"cannot lead to {route['model']}: no such model is served"}})
        self.aliases[name] = alias
        return {"name": name, "alias": alias}

    def remove_alias(self, name: str) -> Any:
        assert self.aliases is not None
        if self.aliases.pop(name, None) is None:
            raise Answer(404, {"error": {"message": f"there is no alias {name}"}})
        raise Answer(204)

    def sample(self, body: bytes, name: str) -> Any:
        if name not in (self.aliases or {}):
            raise Answer(404, {"error": {"message": f"There is no alias `{name}`."}})
        self.samplings[name] = json.loads(body)
        return self.samplings[name]

    def sampled(self, name: str) -> Any:
        if name not in self.samplings:
            raise Answer(404, {"error": {"message": f"Nothing is sampled of the alias `{name}`."}})
        rows = [row for row in self.traffic if row["number"] > int(self.query.get("after", 0))]
        return {"object": "list", "data": rows, "taken": len(self.traffic)}

    def end_sampling(self, name: str) -> Any:
        self.sampled(name)
        del self.samplings[name]
        return {"name": name}

    def rate(self, body: bytes) -> Any:
        asked = json.loads(body)["messages"][-1]["content"]
        rating = 2 if "bad answer" in asked else 5
        names = ("RELEVANCE", "COHERENCE", "FLUENCY", "HELPFULNESS")
        return {"choices": [{"message": {"content": "\n".join(f"{name}: {rating}" for name in names)}}]}

    def tokenize(self, body: bytes) -> Any:
        if self.tokens_per_character is None:
            raise Answer(404, {"detail": "Not Found"})
        asked = json.loads(body)
        texts = [asked["prompt"]] if "prompt" in asked else [turn["content"] for turn in asked["messages"]]
        return {"count": round(len("".join(texts)) * self.tokens_per_character), "tokens": []}

    def embed(self, body: bytes) -> Any:
        if self.embeddings is None:
            raise Answer(404, {"detail": "Not Found"})
        vectors = [self.embeddings[text] for text in json.loads(body)["input"]]
        return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]}

    def chat(self, body: bytes) -> Any:
        model = json.loads(body)["model"]
        if self.aliases and model in self.aliases:
            if self.late_by:
                self.late_by -= 1
                raise Answer(500, {"error": {"message": "no such backend"}}, NO_RETRY)
            model = self.aliases[model]["routes"][0]["model"]
        self.nim_model(model)
        if model in self.broken_models:
            raise Answer(500, {"error": {"message": "the engine fails"}}, NO_RETRY)
        message = {"role": "assistant", "content": self.says}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        completion = {"id": "c", "object": "chat.completion", "created": 1, "model": model}
        return {**completion, "choices": [choice], "usage": usage}


def _found(jobs: dict[str, Any], job_id: str) -> Any:
    if job_id not in jobs:
        raise not_found("job", job_id)
    return jobs[job_id]


def _model_list(stack: FakeStack, _body: bytes) -> Any:
    return {
        "object": "list",
        "data": [
            {"id": m, "object": "model", "created": 1, "owned_by": "x", "max_model_len": stack.context}
            for m in stack.served()
        ],
    }


_ROUTES: tuple[tuple[str, Callable[..., Any]], ...] = (
    *ENTITY_STORE_ROUTES,
    ("GET /v1/customization/configs", lambda s, _b: s.page([{"namespace": "base", "name": "model@v1"}])),
    ("POST /v1/customization/jobs", FakeStack.add_customization),
    ("POST /v1/evaluation/jobs", FakeStack.add_evaluation),
    ("GET /v1/(customization|evaluation)/jobs", lambda s, _b, kind: s.jobs(kind)),
    ("GET /v1/(customization|evaluation)/jobs/([^/]+)", lambda s, _b, kind, job: s.look(kind, job)),
    ("POST /v1/(customization|evaluation)/jobs/([^/]+)/cancel", lambda s, _b, kind, job: s.cancel(kind, job)),
    ("DELETE /v1/evaluation/jobs/([^/]+)", lambda s, _b, job: s.drop_evaluation(job)),
    ("GET /v1/evaluation/jobs/([^/]+)/results", lambda s, _b, job: s.results(job)),
    ("GET /v1/evaluation/jobs/([^/]+)/download-results", lambda s, _b, job: s.download(job)),
    *DATA_STORE_ROUTES,
    ("GET /nim/v1/models", _model_list),
    ("GET /nim/v1/models/(.+)", lambda s, _b, name: s.nim_model(name)),
    ("GET /nim/v1/health/ready", lambda _s, _b: {"message": "ready"}),
    ("POST /nim/v1/chat/completions", FakeStack.chat),
    ("POST /nim/tokenize", FakeStack.tokenize),
    ("GET /nim/v1/aliases", lambda s, _b: s.list_aliases()),
    ("DELETE /nim/v1/aliases/([^/]+)", lambda s, _b, name: s.remove_alias(name)),
    ("PUT /nim/v1/aliases/([^/]+)/samples", FakeStack.sample),
    ("GET /nim/v1/aliases/([^/]+)/samples", lambda s, _b, name: s.sampled(name)),
    ("DELETE /nim/v1/aliases/([^/]+)/samples", lambda s, _b, name: s.end_sampling(name)),
    ("PUT /nim/v1/aliases/([^/]+)", FakeStack.set_alias),
    ("POST /nim/v1/embeddings", FakeStack.embed),
    ("POST /judge/v1/chat/completions", FakeStack.rate),
    ("GET /judge/v1/models", lambda _s, _b: {"data": []}),
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.failures: list[Exception] = []

    def handle_error(self, *_args: Any) -> None:
        """Keep what went wrong. Clients that were interrupted hang up; that is what they are for here."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.failures.append(error)


def _handler(stack: FakeStack) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server: _Server
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, else each answer waits for a delayed ACK

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers: dict[str, str] = {}
            try:
                status, result = 200, stack.answer(self.command, self.path, body)
            except Answer as answer:
                status, result, headers = answer.status, answer.body, answer.headers
            except Exception as error:  # noqa: BLE001 - whatever it is, the test has to fail and the client to go on
                self.server.failures.append(error)
                status, result, headers = 500, {"detail": repr(error)}, NO_RETRY
            data = result if isinstance(result, bytes) else b"" if result is None else json.dumps(result).encode()
            kind = "application/zip" if isinstance(result, bytes) else "application/json"
            try:
                self.send_response_only(status)
                for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)
                self.wfile.flush()
            except OSError:
                self.close_connection = True  # the client was interrupted

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    return Handler
