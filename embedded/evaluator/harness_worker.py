"""Runs one lm-eval benchmark: `python -m embedded.evaluator.harness_worker SPEC.json`, started by harness.py.

Progress and errors go to stdout as JSON lines, lm-eval's own talk to stderr, results into the spec's folder:
`report.json` and `harness_samples.jsonl`. The key of the model is OPENAI_API_KEY. Benchmarks that execute code are
refused, as lm-eval itself does without a special consent.
"""

import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from embedded.evaluator.records import replace_lines


class _SpecError(Exception):
    """The benchmark cannot be run as asked; the text says why."""


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def _load(spec: dict[str, Any]) -> Any:
    """lm-eval's tasks for the spec, with its data replaced if files are given."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml  # the public loader drops a task's own config on overrides

    manager = TaskManager()
    name, files = spec["benchmark"], spec["data_files"]
    if name not in manager.all_tasks:
        near = [task for task in manager.all_tasks if name.lower() in task.lower()][:8]
        raise _SpecError(f"lm-eval has no task {name!r}" + (f"; it has {', '.join(near)}" if near else ""))
    if not files:
        try:
            return manager.load(name)
        except (ConnectionError, OSError, ValueError) as error:
            raise _SpecError(
                f"loading the dataset failed: {type(error).__name__}: {str(error).splitlines()[0][:300]}"
            ) from error
    entry = manager.task_index[name]
    if name not in manager.all_subtasks or entry.yaml_path is None:
        raise _SpecError(
            f"{name} is a group of tasks, each with data of its own: name one of its tasks, or leave `dataset` out"
        )
    config = dict(load_yaml(entry.yaml_path, resolve_func=True))
    split = config.get("test_split") or config.get("validation_split")
    files = {(split if key == "eval" else key): path for key, path in files.items()}
    if split not in files:
        raise _SpecError(f"{name} evaluates split {split!r}; the dataset has {', '.join(files)}")
    for key in ("tag", "group"):
        config.pop(key, None)
    for key in ("training_split", "validation_split", "fewshot_split"):
        if config.get(key) and config[key] not in files:
            config[key] = split if key == "fewshot_split" else None  # lm-eval keeps an item out of its own examples
    return manager.load(
        config | {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    )


def _create_model(spec: dict[str, Any], *, likelihoods: bool) -> Any:
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
            raise _SpecError("it compares likelihoods, which a chat endpoint does not give: leave extra.model_type out")
        if spec["tokenizer"] is None:
            raise _SpecError(
                f"it compares likelihoods and needs the tokenizer of {spec['model']}: set params.extra.tokenizer"
            )
        arguments |= {"tokenizer": spec["tokenizer"], "tokenizer_backend": "huggingface", "tokenized_requests": True}
    return get_model("local-chat-completions" if chat else "local-completions").create_from_arg_obj(arguments), chat


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _key(metric: str, filter_name: str) -> str:
    return metric if filter_name == "none" else f"{metric}__{filter_name}"


def _samples(by_task: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One record an item, scores of all filters in it."""
    records: dict[tuple[str, int], dict[str, Any]] = {}
    for task, logged in by_task.items():
        for one in logged:
            output = one["resps"][0][0] if len(one["resps"]) == 1 else [resp[0] for resp in one["resps"]]
            output = output if isinstance(output, str) else json.dumps(_plain(output))
            record = records.setdefault(
                (task, one["doc_id"]),
                {
                    "index": len(records),
                    "item": _plain(one["doc"]),
                    "sample": {"output_text": output, "task": task},
                    "scores": {},
                },
            )
            for metric in one["metrics"]:
                if isinstance(one[metric], int | float):
                    key = _key(metric, one["filter"])
                    record["scores"][f"{key}.{key}"] = float(one[metric])
    return list(records.values())


def _results(scores: dict[str, Any]) -> dict[str, float]:
    """lm-eval's `metric,filter` keys as the Evaluator writes them; standard errors are recomputed there."""
    named = {
        key.replace(",none", "").replace(",", "__"): value for key, value in scores.items() if "_stderr" not in key
    }
    return {
        key: float(value)
        for key, value in named.items()
        if isinstance(value, int | float) and key not in {"sample_len", "sample_count"}
    }


def run(spec: dict[str, Any]) -> None:
    """Evaluate, and write report and samples."""
    from lm_eval.api.model import CacheHook, CachingLM
    from lm_eval.evaluator import evaluate

    loaded = _load(spec)
    tasks = loaded["tasks"]
    model, chat = _create_model(spec, likelihoods=any(task.OUTPUT_TYPE != "generate_until" for task in tasks.values()))
    if unsafe := [name for name, task in tasks.items() if getattr(task, "UNSAFE_CODE", False)]:
        raise _SpecError(f"{', '.join(unsafe)} executes the model's code, which is not done here")
    total = 0
    for task in tasks.values():
        task.set_fewshot_seed(seed=spec["seed"])
        if spec["num_fewshot"] is not None:
            task.set_config(key="num_fewshot", value=spec["num_fewshot"])
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        if task.OUTPUT_TYPE == "generate_until":
            generation = spec["generation"] | ({"until": spec["stop"]} if spec["stop"] else {})
            task.set_config(key="generation_kwargs", value=generation, update=True)
        docs = len(task.eval_docs)
        total += min(docs, spec["limit"] or docs)

    cached = CachingLM(model, str(Path(spec["folder"]) / "answers.db"))
    requests = {"total": total, "done": 0}

    class Hook(CacheHook):  # type: ignore[misc]
        """Stores each answer, and tells how many there are."""

        def add_partial(self, *args: Any) -> None:
            super().add_partial(*args)
            requests["done"] += 1
            _say(done=min(requests["done"], requests["total"]), total=requests["total"])

    requests["done"] = len(cached.dbdict)
    model.set_cache_hook(Hook(cached))
    try:
        report = evaluate(
            cached, loaded, limit=spec["limit"], apply_chat_template=chat, fewshot_as_multiturn=chat, bootstrap_iters=0
        )
    except ValueError as error:
        if "larger than population" not in str(error):
            raise
        shots = ", ".join(f"{name} has {task.get_config('num_fewshot')}" for name, task in tasks.items())
        raise _SpecError(
            f"the dataset has too few rows for the examples before each question ({shots}): upload more rows, or set "
            "params.extra.num_fewshot lower"
        ) from error
    name, results = spec["benchmark"], report["results"]
    parts = {task: _results(scores) for task, scores in results.items() if task != name}
    whole = _results(results[name]) if name in results else {}
    folder = Path(spec["folder"])
    replace_lines(folder / "harness_samples.jsonl", _samples(report["samples"]))
    (folder / "report.json").write_text(json.dumps({"results": whole, "groups": parts, "n_shot": report.get("n-shot")}))


def _die_with(parent: int) -> None:
    """End this process when the service that started it is gone, or two would ask the model after its restart."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _reason(error: BaseException) -> str:
    status = getattr(error, "status", None)
    return f"the model's endpoint answered {status}: {error}" if status else f"{type(error).__name__}: {error}"


def main(argv: list[str]) -> int:
    """Exit code 1 after an error, which the last JSON line on stdout tells."""
    spec = json.loads(Path(argv[0]).read_text())
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    try:
        run(spec)
    except _SpecError as error:
        _say(error=str(error))
    except Exception as error:  # noqa: BLE001 - whatever lm-eval raises must reach the job's message
        import traceback

        traceback.print_exc()
        _say(error=" ".join(_reason(error).split())[:600])
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
