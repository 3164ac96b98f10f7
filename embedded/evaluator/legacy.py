"""Older shapes of a configuration, brought into the current one: `lm_harness`, `similarity_metrics`, `llm_as_judge`.

The guide uses them, and older NVIDIA notebooks. A current configuration passes through unchanged.
"""

from typing import Any

# What stands for the expected answer wherever no `ground_truth` is configured (see templates.TRUTH_COLUMNS).
DEFAULT_TRUTH = "{{ expected_answer(item) }}"
DEFAULT_TEMPLATE = {"messages": [{"role": "user", "content": "{{item.prompt}}"}]}
_RATING = r"(?i)(?:rating|score)\W*(\d+)|^\W*(\d)\W*$"
DEFAULT_SCORE = {"type": "int", "minimum": 1, "maximum": 5, "parser": {"type": "regex", "pattern": _RATING}}


def _named(items: Any, fallback: str) -> Any:
    """Old lists of tasks or metrics, as the dict they are now."""
    if not isinstance(items, list):
        return items
    return {
        str(item.get("name") or item.get("type") or f"{fallback}-{number}"): item
        for number, item in enumerate(items, 1)
    }


def _metrics(items: Any) -> Any:
    named = _named(items, "metric")
    if not isinstance(named, dict):
        return named
    return {
        name: {"type": metric.get("type", name), "params": metric.get("params") or {}}
        if isinstance(metric, dict)
        else metric
        for name, metric in named.items()
    }


def _similarity_task(task: dict[str, Any]) -> dict[str, Any]:
    params = dict(task.get("params") or {})
    params.setdefault("template", task.get("template") or DEFAULT_TEMPLATE)
    kind = task.get("type", "default")
    new = {
        "type": "chat-completion" if kind in {"default", "similarity_metrics"} else kind,
        "params": params,
        "metrics": _metrics(task.get("metrics") or {"bleu": {}, "rouge": {}, "f1": {}}),
    }
    return new | ({"dataset": task["dataset"]} if "dataset" in task else {})


def _judge_task(name: str, task: dict[str, Any]) -> dict[str, Any]:
    judge = {key: task[key] for key in ("model", "template", "scores") if key in task}
    judge.setdefault("scores", {name: DEFAULT_SCORE})
    new = _similarity_task({key: value for key, value in task.items() if key != "template"} | {"metrics": {name: {}}})
    return new | {"metrics": {name: {"type": "llm-judge", "params": judge}}}


def current_shape(config: dict[str, Any]) -> dict[str, Any]:
    """`config` in the current shape; a new dict where something had to change."""
    kind, tasks = config.get("type"), _named(config.get("tasks"), "task")
    if isinstance(tasks, dict) and all(isinstance(task, dict) for task in tasks.values()):
        if kind == "similarity_metrics":
            return config | {"type": "custom", "tasks": {name: _similarity_task(task) for name, task in tasks.items()}}
        if kind == "llm_as_judge":
            return config | {"type": "custom", "tasks": {name: _judge_task(name, task) for name, task in tasks.items()}}
        if kind in {"lm_harness", "lm_eval_harness"}:
            tasks = {name: {"type": name} | task for name, task in tasks.items()}
    return config | ({"tasks": tasks} if tasks is not config.get("tasks") else {})
