"""The job schemas of our training backends, against the documentation that comes with NVIDIA's package."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nemo_platform.cli
import pytest
from pydantic import BaseModel, ValidationError

from embedded.training_hub import official
from embedded.training_hub.automodel import AutomodelJob, AutomodelJobWithOutput
from embedded.training_hub.jobs import compiled
from embedded.training_hub.settings import TrainingSettings
from embedded.training_hub.steps.download import placed
from embedded.training_hub.unsloth import UnslothJob, UnslothJobWithOutput

DOCS = Path(nemo_platform.cli.__path__[0]) / "docs" / "customizer"
HYPERPARAMETERS = (DOCS / "manage-customization-jobs" / "hyperparameters.mdx").read_text(encoding="utf-8")
JOBS: dict[str, type[BaseModel]] = {"AutomodelJobInput": AutomodelJob, "UnslothJobInput": UnslothJob}
WITH_OUTPUT: dict[str, type[AutomodelJobWithOutput] | type[UnslothJobWithOutput]] = {
    "AutomodelJobInput": AutomodelJobWithOutput,
    "UnslothJobInput": UnslothJobWithOutput,
}
SMALL: dict[str, dict[str, Any]] = {
    "AutomodelJobInput": {"model": "m", "dataset": {"training": "d"}},
    "UnslothJobInput": {"model": {"name": "m"}, "dataset": {"path": "d"}},
}
OUTPUT = {"name": "o", "type": "adapter", "fileset": "o-1"}
UNKNOWN = "default/name"
NOT_HERE = {"distillation", "bi_encoder", "cross_encoder"}


def literal(node: ast.expr, known: dict[str, Any]) -> Any:
    """Value of a literal; a name that the page does not set stands for something like UNKNOWN."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {literal(key, known): literal(value, known) for key, value in pairs if key}
    if isinstance(node, ast.List):
        return [literal(one, known) for one in node.elts]
    if isinstance(node, ast.Name):
        return known.get(node.id, UNKNOWN)
    return node.value if isinstance(node, ast.Constant) else UNKNOWN


def documented_jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every call of a job's schema in the documentation: (schema, arguments)."""
    for page in sorted(DOCS.rglob("*.mdx")):
        known: dict[str, Any] = {}
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for node in ast.walk(ast.parse(re.sub(r"^[ ]*[%!].*$", "", block, flags=re.MULTILINE))):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Dict):
                    value = literal(node.value, known)
                    known |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in JOBS:
                    yield node.func.id, {word.arg: literal(word.value, known) for word in node.keywords if word.arg}


def test_every_documented_job_is_accepted_or_refused_for_what_it_asks() -> None:
    accepted = refused = 0
    for schema, arguments in documented_jobs():
        job = SMALL[schema] | {name: value for name, value in arguments.items() if value != UNKNOWN}
        asks = json.dumps(job)
        wants_more = any(word in asks for word in NOT_HERE) or max(job.get("parallelism", {"": 1}).values()) > 1
        if wants_more:
            with pytest.raises(ValidationError, match="not available on this backend"):
                JOBS[schema].model_validate(job)
            refused += 1
        else:
            JOBS[schema].model_validate(job)
            accepted += 1
    assert accepted >= 5
    assert refused >= 2


def documented_defaults(title: str) -> dict[str, str]:
    """Name of a field -> its default, from the tables below a title."""
    section = HYPERPARAMETERS.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found: dict[str, str] = {}
    prefix = ""
    for line in section.splitlines():
        if match := re.match(r"LoRA parameters \(`(.+)`\)", line):
            prefix = f"{match[1]}."
        elif line.startswith("### "):
            prefix = ""
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 3 and (name := re.fullmatch(r"`([\w.]+)`", cells[0])) and (default := cells[-1]):
            found[prefix + name[1]] = default.strip("`")
    return found


@pytest.mark.parametrize(
    ("title", "schema"),
    [("Automodel Configuration", "AutomodelJobInput"), ("Unsloth Configuration", "UnslothJobInput")],
)
def test_names_and_defaults_are_the_documented_ones(title: str, schema: str) -> None:
    job = JOBS[schema].model_validate(SMALL[schema]).model_dump()
    compared = 0
    for name, default in documented_defaults(title).items():
        if name.startswith("output.") or name == "deployment_config":
            continue  # there is none until the job has one
        value: Any = job
        for part in name.split("."):
            assert part in value, f"{name} is documented and not there"
            value = value[part]
        try:
            expected = json.loads(default)
        except ValueError:
            expected = default
        if re.fullmatch(r"[\w.\"-]+", default) and not default.startswith("*"):
            assert value == expected, name
            compared += 1
    assert compared >= 20


@pytest.mark.parametrize(
    ("schema", "change", "says"),
    [
        ("AutomodelJobInput", {"training": {"max_seq_len": 5}}, "training.max_seq_len"),
        ("AutomodelJobInput", {"batch": {"global_batch_size": 6, "micro_batch_size": 4}}, "no multiple"),
        ("AutomodelJobInput", {"training": {"lora": {"rank": 12}}}, "power of 2"),
        ("AutomodelJobInput", {"parallelism": {"num_gpus_per_node": 2}}, "parallelism.num_gpus_per_node=2"),
        ("AutomodelJobInput", {"model": "a/b/c"}, "model"),
        ("UnslothJobInput", {"training": {"finetuning_type": "all_weights"}}, "load_in_4bit=false"),
        ("UnslothJobInput", {"training": {"lora": {"use_dora": True}}}, "lora.use_dora"),
        ("UnslothJobInput", {"optimizer": {"neftune_noise_alpha": 5}}, "neftune_noise_alpha"),
        ("UnslothJobInput", {"schedule": {"warmup_steps": 1, "warmup_ratio": 0.1}}, "exclude each other"),
        ("UnslothJobInput", {"deployment_config": {"lora_enabled": True}}, "deployment_config"),
        ("UnslothJobInput", {"batch": {"global_batch_size": 8}}, "batch.global_batch_size"),
    ],
)
def test_what_cannot_be_done_is_refused(schema: str, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        JOBS[schema].model_validate(SMALL[schema] | change)


def test_an_automodel_job_in_the_words_of_the_trainer() -> None:
    job = SMALL["AutomodelJobInput"] | {
        "output": OUTPUT,
        "training": {"lora": {"rank": 32, "alpha": 8, "dropout": 0.1, "merge": True}, "max_seq_length": 128},
        "schedule": {"epochs": 2, "max_steps": 7, "val_check_interval": 0.5, "seed": 3, "validation_split": 0.2},
        "batch": {"global_batch_size": 16, "micro_batch_size": 4, "sequence_packing": True},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "lr_decay_style": "linear", "optimizer": "AdamW"},
    }
    terms = AutomodelJobWithOutput.model_validate(job).terms()
    found = terms.hyperparameters
    assert (found.finetuning_type, found.epochs, found.max_steps, found.batch_size) == ("lora_merged", 2, 7, 16)
    assert found.lora is not None
    assert (found.lora.adapter_dim, found.lora.alpha, found.lora.adapter_dropout) == (32, 8, 0.1)
    assert (found.val_check_interval, found.warmup_steps, terms.hold_out, terms.seed) == (0.5, 2, 0.2, 3)
    assert (terms.recipe.algorithm, terms.recipe.decay) == ("adamw", "linear")
    assert terms.recipe.final_learning_rate == pytest.approx(1e-5)
    assert (terms.max_seq_length, terms.whole_text) == (128, None)
    assert any("sequence_packing" in warning for warning in terms.warnings)


def test_an_unsloth_job_in_the_words_of_the_trainer() -> None:
    job = SMALL["UnslothJobInput"] | {
        "output": OUTPUT | {"save_method": "merged_16bit"},
        "training": {"lora": {"rank": 8, "use_rslora": True}},
        "schedule": {"warmup_ratio": 0.25, "lr_scheduler_type": "cosine_with_restarts", "eval_steps": 5}
        | {"lr_scheduler_kwargs": {"num_cycles": 3}},
        "batch": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        "optimizer": {"optim": "sgd", "max_grad_norm": 0.5},
    }
    terms = UnslothJobWithOutput.model_validate(job).terms()
    found, recipe = terms.hyperparameters, terms.recipe
    assert (found.finetuning_type, found.batch_size, found.val_check_interval) == ("lora_merged", 8, 5)
    assert (recipe.algorithm, recipe.decay, recipe.restarts) == ("sgd", "cosine_with_restarts", 3)
    assert (recipe.warmup_ratio, recipe.max_gradient_norm, recipe.rank_stabilized) == (0.25, 0.5, True)
    assert terms.whole_text == "text"
    assert any("unquantized" in warning for warning in terms.warnings)


@pytest.mark.parametrize(
    ("schema", "training", "more", "warned"),
    [
        ("AutomodelJobInput", {"lora": {"rank": 32}}, {}, False),
        ("AutomodelJobInput", {"lora": {"rank": 64}}, {}, True),
        ("AutomodelJobInput", {"lora": {"rank": 64, "merge": True}}, {"output": OUTPUT | {"type": "model"}}, False),
        ("AutomodelJobInput", {"finetuning_type": "all_weights"}, {"output": OUTPUT | {"type": "model"}}, False),
        ("UnslothJobInput", {"lora": {"rank": 32}}, {}, False),
        ("UnslothJobInput", {"lora": {"rank": 256}}, {}, True),
    ],
)
def test_a_rank_that_nim_does_not_serve_is_warned_of(
    schema: str, training: dict[str, Any], more: dict[str, Any], warned: bool
) -> None:
    job = WITH_OUTPUT[schema].model_validate(SMALL[schema] | {"output": OUTPUT, "training": training} | more)
    base = SimpleNamespace(workspace="default", name="m", fileset="f")
    settings = TrainingSettings(python=Path(sys.executable), max_served_rank=32)
    steps = compiled(job.terms(), base, "default", settings)["steps"]
    said = [
        [w for w in step["config"]["terms"]["warnings"] if "above the rank 32 that NIM serves" in w] for step in steps
    ]
    assert [bool(warnings) for warnings in said] == [warned] * 4
    unlimited = compiled(job.terms(), base, "default", settings.model_copy(update={"max_served_rank": None}))
    assert "NIM serves" not in json.dumps([step["config"] for step in unlimited["steps"]])


@pytest.mark.parametrize(
    ("paths", "part", "alone", "expected"),
    [
        (["training.jsonl", "validation.jsonl"], "training", False, ["training/", "validation/"]),
        (["training/a.jsonl", "validation/a.jsonl"], "training", False, ["training/", "validation/"]),
        (["rows.jsonl"], "training", False, ["training/"]),
        (["rows.jsonl"], "validation", True, ["validation/"]),
        (["training.jsonl", "validation.jsonl"], "validation", True, ["validation/"]),
        (["data/test.jsonl", "train.jsonl"], "training", False, ["training/"]),
        ([], "training", False, []),
    ],
)
def test_files_of_a_dataset_go_where_they_belong(paths: list[str], part: str, alone: bool, expected: list[str]) -> None:
    found = placed(paths, part, alone=alone)
    assert [place[: place.index("/") + 1] for place in found.values()] == expected


def entry(value: str) -> EntryPoint:
    return EntryPoint("automodel", value, "nemo.customization.contributors")


def test_nvidia_s_own_backend_goes_first_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = entry("embedded.training_hub.contributors:AutomodelContributor")
    nvidias = entry("json.decoder:JSONDecoder")  # any class that can be imported
    installed = [ours, nvidias]
    monkeypatch.setattr(official, "entry_points", lambda **_: installed)

    def choose(*, gpu: bool) -> Any:
        return official.choose("nemo.customization.contributors", "automodel", int, gpu=lambda: gpu)

    assert choose(gpu=True) is json.JSONDecoder
    assert choose(gpu=False) is int
    installed.remove(nvidias)
    assert choose(gpu=True) is int


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOSTACK_TRAINING_ACCELERATOR", "cuda")
    with pytest.raises(ValueError, match="expected GPUs"):
        TrainingSettings.read()
    monkeypatch.setenv("NEMOSTACK_TRAINING_GPUS", "0,2")
    assert TrainingSettings.read().gpus == (0, 2)
    assert TrainingSettings.read().max_served_rank is None
    monkeypatch.setenv("NEMOSTACK_TRAINING_MAX_SERVED_RANK", "64")
    assert TrainingSettings.read().max_served_rank == 64
    monkeypatch.setenv("NEMOSTACK_TRAINING_GPU", "0")
    with pytest.raises(ValueError, match="NEMOSTACK_TRAINING_GPU"):
        TrainingSettings.read()
