"""Runs one lm-eval benchmark: `python -m embedded.evaluator.harness_worker SPEC.json`, started by harness.py.

Progress and errors go to stdout as JSON lines, lm-eval's own talk to stderr, results into the spec's folder:
`report.json` and `harness_samples.jsonl`. The key of the model is OPENAI_API_KEY. Code that the model writes runs in a
sandbox (code_tests.py) and only if the spec says so; a benchmark that runs code in another way is refused.
"""

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from embedded.evaluator.benchmark_tasks import SpecError, load
from embedded.evaluator.code_tests import CodeEval, reference
from embedded.evaluator.harness_client import create_client
from embedded.evaluator.records import replace_lines
from embedded.evaluator.sandbox import Sandbox
from nemostack.imports import without_collector

_DEFAULT_ROOM = 256  # tokens of an answer, as lm-eval has it


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _key(metric: str, filter_name: str) -> str:
    return metric if filter_name == "none" else f"{metric}__{filter_name}"


def _samples(by_task: dict[str, list[dict[str, Any]]], code_eval: CodeEval) -> list[dict[str, Any]]:
    """One record an item, scores of all filters in it, and why code did not pass."""
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
            if code_eval.verdicts:
                record["sample"]["verdicts"] = [
                    asdict(verdict) for verdict in code_eval.verdicts[reference(one["doc"])]
                ]
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


def _prepare_code_eval(spec: dict[str, Any]) -> CodeEval:
    """Put our metric where lm-eval's HumanEval tasks look for theirs.

    They take nothing else from Hugging Face's `evaluate`, which itself loads all of transformers' pipelines: six
    seconds of processor time.
    """
    code_eval = CodeEval(Sandbox())
    if spec["runs_code"]:
        stand_in = ModuleType("evaluate")
        stand_in.load = {"code_eval": code_eval}.__getitem__  # type: ignore[attr-defined]
        sys.modules["evaluate"] = stand_in
    return code_eval


def _configure(tasks: dict[str, Any], spec: dict[str, Any], *, chat: bool) -> int:
    """Set what the spec asks for in each task; the number of items to come."""
    total = 0
    for task in tasks.values():
        task.set_fewshot_seed(seed=spec["seed"])
        if spec["num_fewshot"] is not None:
            task.set_config(key="num_fewshot", value=spec["num_fewshot"])
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        if task.OUTPUT_TYPE == "generate_until":
            room = (task.get_config("generation_kwargs") or {}).get("max_gen_toks", _DEFAULT_ROOM)
            generation = {"max_gen_toks": min(room, spec["max_length"] // 2)} | spec["generation"]
            generation |= {"until": spec["stop"]} if spec["stop"] else {}
            if chat and task.get_config("gen_prefix"):  # the answer goes on where the task began it
                generation |= {"continue_final_message": True, "add_generation_prompt": False}
            task.set_config(key="generation_kwargs", value=generation, update=True)
        docs = len(task.eval_docs)
        total += min(docs, spec["limit"] or docs)
    return total


def run(spec: dict[str, Any]) -> None:
    """Evaluate, and write report and samples."""
    with without_collector():
        from lm_eval.api.model import CacheHook, CachingLM
        from lm_eval.evaluator import evaluate

    code_eval = _prepare_code_eval(spec)
    loaded = load(spec)
    tasks = loaded.tasks["tasks"]
    unsafe = [name for name, task in tasks.items() if getattr(task, "UNSAFE_CODE", False)]
    if unsafe and not spec["runs_code"]:
        raise SpecError(f"{', '.join(unsafe)} executes the model's code, which is not done here")
    if unsafe:
        code_eval.know(doc for task in tasks.values() for doc in task.eval_docs)
    model, chat = create_client(spec, likelihoods=any(task.OUTPUT_TYPE != "generate_until" for task in tasks.values()))
    total = _configure(tasks, spec, chat=chat)

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
            cached,
            loaded.tasks,
            limit=spec["limit"],
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            bootstrap_iters=0,
            confirm_run_unsafe_code=bool(unsafe),
        )
    except ValueError as error:
        if "larger than population" not in str(error):
            raise
        shots = ", ".join(f"{name} has {task.get_config('num_fewshot')}" for name, task in tasks.items())
        raise SpecError(
            f"the dataset has too few rows for the examples before each question ({shots}): upload more rows, or set "
            "params.extra.num_fewshot lower"
        ) from error
    name, results = spec["benchmark"], report["results"]
    parts = {task: _results(scores) for task, scores in results.items() if task != name}
    whole = _results(results[name]) if name in results else {}
    folder = Path(spec["folder"])
    replace_lines(folder / "harness_samples.jsonl", _samples(report["samples"], code_eval))
    n_shot = {"n_shot": report.get("n-shot")}
    (folder / "report.json").write_text(json.dumps({"results": whole, "groups": parts, "data": loaded.data} | n_shot))


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
    except SpecError as error:
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
