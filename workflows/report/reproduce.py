"""The command that makes a run again: options for what was chosen, defaults left out."""

import shlex
from typing import Any

from workflows.engine.run_directory import RunInfo
from workflows.settings import DEFAULT_DATASET, Settings

_HYPER = ("epochs", "batch_size", "learning_rate", "adapter_dim", "alpha")
_PLAIN = (
    *("namespace", "seed", "prompt_column", "completion_column", "limit", "train_rows", "validation_rows", "shots"),
    *("examples", "max_tokens", "parallelism", "experiment", "benchmark_items", "load_slo", "policy", "model"),
    "benchmark",
)


def command_of(info: RunInfo) -> str:
    """Return the command line, quoted for a shell."""
    settings, default = info.settings, Settings()
    words = ["nemostack", "sweep" if settings.sweep is not None else settings.kind]
    if settings.dataset != DEFAULT_DATASET:
        words += ["--dataset", str(settings.dataset)]
    for name in _PLAIN:
        words += _option(name, getattr(settings, name), getattr(default, name))
    if settings.choose_shots:
        words += ["--choose-shots", ",".join(map(str, settings.choose_shots))]
    if settings.benchmarks:
        words += ["--benchmarks", ",".join(settings.benchmarks)]
    words += [] if settings.judge or settings.kind == "customize" else ["--no-judge"]
    words += [] if settings.reuse else ["--no-reuse"]
    words += ["--keep-adapter"] if settings.keep_adapter else []
    if settings.sweep is not None:
        words += _sweep(settings)
    elif settings.kind != "evaluate":
        for name in _HYPER:
            words += _option(name, getattr(settings.hyperparameters, name), getattr(default.hyperparameters, name))
    return shlex.join(words)


def _sweep(settings: Settings) -> list[str]:
    sweep = settings.sweep
    assert sweep is not None
    words = ["--search", sweep.search]
    for name in ("ranks", "learning_rates", "epochs"):
        words += [f"--{name.replace('_', '-')}", ",".join(f"{value:g}" for value in getattr(sweep, name))]
    words += _option("trials", sweep.trials, None)
    for name in ("batch_size", "alpha"):
        words += _option(name, getattr(settings.hyperparameters, name), None)
    return words


def _option(name: str, value: Any, default: Any) -> list[str]:
    return [] if value == default or value is None else [f"--{name.replace('_', '-')}", f"{value}"]
