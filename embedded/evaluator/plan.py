"""From what a client sent to what will be done: the tasks of a job, checked as far as is possible before it starts.

Everything wrong with a configuration is one Unprocessable (422) with the path of the field.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from embedded.common.errors import Unprocessable
from embedded.common.unknown_keys import drop_unknown_keys
from embedded.evaluator.errors import DataError
from embedded.evaluator.legacy import DEFAULT_TEMPLATE, current_shape
from embedded.evaluator.metrics import Metric, create
from embedded.evaluator.request_models import Config, Dataset, Params, Target, TaskConfig
from embedded.evaluator.sandbox import Sandbox
from embedded.evaluator.settings import Settings
from embedded.evaluator.templates import check
from nemostack.validation import validation_lines

Kind = Literal["chat-completion", "completion", "data", "benchmark"]
_Model = TypeVar("_Model", bound=BaseModel)
# Kinds of evaluation that NVIDIA's service has besides: retrieval pipelines, agents, harnesses other than lm-eval.
UNAVAILABLE_TYPES = {
    "agentic",
    "llm_as_a_judge",
    "retriever",
    "rag",
    "bigcode",
    "bfcl",
    "simple_evals",
    "safety_eval",
    "prompt-optimization",
}
# Beginnings of names of benchmarks in those other harnesses (pages Academic Benchmarks, 25.x), none of them in lm-eval.
OTHER_HARNESSES = {
    "bfcl": "the Berkeley Function-Calling Leaderboard",
    "aegis": "the safety harness",
    "wildguard": "the safety harness",
    "AIME_": "Simple-Evals",
    "AA_": "Simple-Evals",
    "math_test_500": "Simple-Evals",
    "simpleqa": "Simple-Evals",
    "mt_bench": "MT-Bench",
    "mtbench": "MT-Bench",
}
# Beginnings of lm-eval's names for what it marks as unsafe (`unsafe_code`), and of NVIDIA's names for the same.
CODE_BENCHMARKS = ("humaneval", "mbpp", "cruxeval", "longproc", "multiple-", "bigcodebench", "livecodebench")
# Those whose tests can be kept apart from the code that they test (cell.py).
SANDBOXED = {"humaneval", "humaneval_64", "humaneval_instruct", "humaneval_64_instruct"}
# Names that lm-eval has in small letters only.
_GUIDE = {"gsm8k", "mmlu", "hellaswag", "truthfulqa", "humaneval"}
_CUSTOM_KINDS: dict[str, Kind] = {
    "chat-completion": "chat-completion",
    "chat": "chat-completion",
    "completion": "completion",
    "data": "data",
}


@dataclass(frozen=True)
class TaskPlan:
    """One task. `benchmark` is the lm-eval name when `kind` is `benchmark`."""

    name: str
    kind: Kind
    params: Params
    template: Any
    dataset: str | Dataset | None
    metrics: dict[str, Metric]
    benchmark: str = ""
    runs_code: bool = False


@dataclass(frozen=True)
class Plan:
    """A job's tasks and target."""

    target: Target
    tasks: list[TaskPlan]
    groups: dict[str, list[str]]
    warnings: tuple[str, ...] = ()  # what was ignored


def validated(model: type[_Model], document: Any, where: str) -> _Model:
    """`document` as `model`; Unprocessable lists each wrong field with its path."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Unprocessable("; ".join(validation_lines(error, where))) from None


def parse_config(document: dict[str, Any]) -> Config:
    """Read a configuration in any accepted shape."""
    return validated(Config, current_shape(document), "config")


def parse_target(document: dict[str, Any]) -> Target:
    """Read a target; Unprocessable if this service cannot evaluate it."""
    target = validated(Target, document, "target")
    if target.type in {"retriever", "rag"}:
        raise Unprocessable(
            f"target.type: {target.type!r} is not available here; use model, rows, dataset or cached_outputs"
        )
    if getattr(target, target.type) is None:
        raise Unprocessable(f"target.{target.type}: missing, as target.type is {target.type!r}")
    return target


def make_plan(config: dict[str, Any], target: dict[str, Any], settings: Settings) -> Plan:
    """Plan what the job will do. Unprocessable for all that can be known to fail."""
    parsed, aim = parse_config(config), parse_target(target)
    warnings = [f"config: {sentence}" for sentence in drop_unknown_keys(parsed)]
    warnings += [f"target: {sentence}" for sentence in drop_unknown_keys(aim)]
    if parsed.type in UNAVAILABLE_TYPES:
        raise Unprocessable(
            f"config.type: {parsed.type!r} is not available here; use 'custom', or the name of an lm-eval benchmark"
        )
    tasks = parsed.tasks
    custom = parsed.type == "custom"
    if not tasks:
        if custom:
            raise Unprocessable("config.tasks: a custom evaluation needs at least one task")
        tasks = {parsed.type: TaskConfig(type=parsed.type)}
    planned = [
        _plan_task(name, task, parsed, aim, settings=settings, warnings=warnings) for name, task in tasks.items()
    ]
    for group, members in parsed.groups.items():
        if unknown := [name for name in members.tasks if name not in tasks]:
            raise Unprocessable(f"config.groups.{group}.tasks: no task is named {', '.join(unknown)}")
    return Plan(
        aim, planned, {name: group.tasks for name, group in parsed.groups.items()}, tuple(dict.fromkeys(warnings))
    )


def _plan_task(
    name: str, task: TaskConfig, config: Config, target: Target, *, settings: Settings, warnings: list[str]
) -> TaskPlan:
    where = f"config.tasks.{name}"
    given = {**config.params, **task.params}
    template = given.pop("template", None)
    params = validated(Params, given, f"{where}.params")
    warnings += [f"{where}.params: {sentence}" for sentence in drop_unknown_keys(params)]
    if config.type != "custom":
        if target.type != "model":
            raise Unprocessable(f"target.type: benchmark {task.type} needs a model, not {target.type!r}")
        for beginning, harness in OTHER_HARNESSES.items():
            if task.type.startswith(beginning):
                raise Unprocessable(f"{where}.type: benchmark {task.type} is of {harness}, which is not available here")
        benchmark = task.type.lower() if task.type.lower() in _GUIDE else task.type
        runs_code = benchmark.startswith(CODE_BENCHMARKS)
        if runs_code and (obstacle := _obstacle_to_code(benchmark, settings)) is not None:
            raise Unprocessable(
                f"{where}.type: benchmark {task.type} executes code that the model writes, and {obstacle}"
            )
        return TaskPlan(name, "benchmark", params, None, task.dataset, {}, benchmark=benchmark, runs_code=runs_code)
    kind = _CUSTOM_KINDS.get(task.type)
    if kind is None:
        raise Unprocessable(f"{where}.type: {task.type!r}; a custom task is one of {', '.join(_CUSTOM_KINDS)}")
    if kind != "data" and target.type != "model":
        raise Unprocessable(
            f"{where}.type: {task.type!r} asks a model, but the target is {target.type!r}; use type 'data'"
        )
    if task.dataset is None and target.type == "model":
        raise Unprocessable(
            f"{where}.dataset: missing; give files_url, e.g. hf://datasets/default/NAME/testing/test.jsonl"
        )
    if not task.metrics:
        raise Unprocessable(f"{where}.metrics: at least one metric is needed")
    if template is None:
        template = DEFAULT_TEMPLATE if kind == "chat-completion" else {"prompt": "{{item.prompt}}"}
    try:
        check(template, f"{where}.params.template")
        metrics = {
            key: _metric(metric.type, metric.params, f"{where}.metrics.{key}") for key, metric in task.metrics.items()
        }
    except DataError as error:
        raise Unprocessable(str(error)) from None
    for metric in metrics.values():
        warnings += metric.warnings
    return TaskPlan(name, kind, params, template, task.dataset, metrics)


def _obstacle_to_code(benchmark: str, settings: Settings) -> str | None:
    """Tell why this service does not run a benchmark's code; None where it does."""
    if benchmark not in SANDBOXED:
        return f"only that of {', '.join(sorted(SANDBOXED))} can be run shut in here"
    if not settings.run_generated_code:
        return "the setting run_generated_code is off (of a local stack: local.evaluator.run_generated_code)"
    obstacle = Sandbox().find_obstacle()
    return None if obstacle is None else f"it cannot be shut in here: {obstacle}"


def _metric(kind: str, params: dict[str, Any], where: str) -> Metric:
    try:
        return create(kind, params, where)
    except ValidationError as error:
        raise Unprocessable("; ".join(validation_lines(error, f"{where}.params"))) from None
