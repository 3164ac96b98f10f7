"""What the pages presume, which a reader would have or would write in its place.

Prepared before a page is read: files on the reader's disk, what an earlier page has made, a client. Replaced in its
text: models of NVIDIA's and of others by the stack's, since neither a GPU nor a key is there, and imports of packages
that are not published. What is prepared is as small as the page allows, so that what it shows is still done by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed

from nemostack.clone import ROOT
from nemostack.outputs import StackOutputs, gateway_url
from tests.documented_examples.pages import Block

WEIGHTS = ROOT / "tests" / "base_model" / "weights"
Steps = tuple[tuple[str, str], ...]
"""Blocks to run: language and text."""


@dataclass(frozen=True)
class Presumed:
    """`preparations`: before a page; `before`: before the block in which a text stands; `replaced`: in all blocks."""

    preparations: Steps = ()
    variables: dict[str, str] = field(default_factory=dict)
    before: dict[str, Steps] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)

    def just_before(self, block: Block) -> Steps:
        """What has to be done right before a block."""
        return tuple(step for text, steps in self.before.items() if text in block.text for step in steps)


INSTALLED = {
    command: f": {command}" for command in ("pip install", "uv add", "nemo setup", "nemo services run", "nemo auth")
}
"""Left out always: the stack has installed and started all of it, and nothing is installed for the sake of a page."""

_CLIENT = """
import os
from nemo_platform import NeMoPlatform
client = NeMoPlatform(base_url=os.environ["NMP_BASE_URL"], workspace="default")
"""
_BACKENDS = """
import sys, types
for package, names in {
    "nemo_automodel_plugin": (
        "AutomodelJobInput", "BatchSpec", "DatasetSpec", "OptimizerSpec", "OutputRequest", "ParallelismSpec",
        "ScheduleSpec", "TrainingSpec",
    ),
    "nemo_unsloth_plugin": ("UnslothJobInput",),
}.items():
    schema = types.ModuleType(f"{package}.schema")
    vars(schema).update(dict.fromkeys(names, dict))  # a dictionary with the same fields is taken as well
    sys.modules[package], sys.modules[schema.__name__] = types.ModuleType(package), schema
"""
_NOTEBOOK = """
import sys, types
display = types.ModuleType("IPython.display")
display.clear_output = lambda wait=False: None
sys.modules["IPython"], sys.modules["IPython.display"] = types.ModuleType("IPython"), display
"""
"""Tutorials are read in a notebook."""
_KEYS = dict.fromkeys(("NVIDIA_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN"), "not-a-key")
"""What nobody has here. Pages that only keep a key, or send it to NIM, work with any."""
_FILES = """
mkdir -p training_data large_dataset
for file in data.jsonl training_data/data.jsonl large_dataset/data.jsonl; do
    for number in 1 2 3 4 5 6 7 8; do echo '{"prompt": "What is '$number'?", "completion": "A number."}'; done > $file
done
echo '{}' > config.json
"""


def _rows(*names: str) -> str:
    """Make filesets of these names with rows for training."""
    return "\n".join(
        f"nemo files filesets create {name} --purpose dataset "
        f"&& nemo files upload data.jsonl {name} --remote-path training.jsonl"
        for name in names
    )


def _models(*names: str) -> str:
    """Make model entities of these names, with the files of the tests' small model."""
    return "\n".join(
        f"nemo files filesets create {name} --purpose model && nemo files upload {WEIGHTS}/ {name} "
        f"&& nemo models create {name} --fileset default/{name}"
        for name in names
    )


def _job(name: str, *, ends: bool, epochs: int = 1) -> str:
    """Start a LoRA job of this name; wait for its end where the page is about a job that has one."""
    wait = f"""
import time
while client.jobs.get_status(name={name!r}, workspace="default").status not in ("completed", "error", "cancelled"):
    time.sleep(1)
"""
    return f"""
client.customization.automodel.jobs.create(
    name={name!r},
    spec={{
        "model": "default/qwen3-1.7b",
        "dataset": {{"training": "default/my-training-dataset"}},
        "training": {{"lora": {{"rank": 8}}, "max_seq_length": 128}},
        "schedule": {{"epochs": {epochs}}},
        "batch": {{"global_batch_size": 8}},
    }},
){wait if ends else ""}
"""


_EVALUATION = """
from nemo_evaluator_sdk import ExactMatchMetric, RunConfig
metric = ExactMatchMetric(reference="{{item.expected}}", candidate="{{item.output}}")
dataset = [{"expected": "Paris", "output": "Paris"}, {"expected": "Berlin", "output": "Munich"}]
"""
_TRAINING: Steps = (
    ("bash", _FILES),
    ("bash", _models("qwen3-1.7b")),
    ("bash", _rows("my-training-dataset", "my-dataset")),
    ("python", _BACKENDS),
)
_TUTORIAL: Steps = (*_TRAINING, ("python", _NOTEBOOK))
_WORKSPACE: Steps = (("bash", 'echo \'{"description": "My workspace for testing"}\' > workspace.json'),)
_FILESET: Steps = (("bash", "nemo files filesets create my-files"),)


def what_is_presumed(topic: str, outputs: StackOutputs) -> Presumed:
    """Say what a page presumes, of a stack with these outputs."""
    model = outputs.base_model.rpartition("/")[2]
    gateway = gateway_url(outputs.nemo_url)
    inference = {
        "https://integrate.api.nvidia.com/v1/chat/completions": f"{gateway}/v1/chat/completions",
        "https://integrate.api.nvidia.com/v1": f"{gateway}/v1",
        "https://integrate.api.nvidia.com": gateway,
        "<judge-nim-url>": outputs.judge_url,
        **dict.fromkeys(
            (
                "meta/llama-3.1-70b-instruct",
                "meta/llama-3.1-8b-instruct",
                "meta/llama-3.2-1b-instruct",
                "nvidia/llama-3.3-nemotron-super-49b-v1",
                "nvidia/nemotron-3-nano-30b-a3b",
                "default/meta-llama-3-2-1b-instruct",
            ),
            outputs.base_model,
        ),
        "openai/meta-llama-3-2-1b-instruct": f"openai/{outputs.base_model}",
        "meta-llama-3-2-1b-instruct": model,
        "llama-3-2-1b-deployment": "nim",
        "my-provider": "nim",
        "default/my-model": outputs.base_model,
        '"my-model"': f'"{model}"',
    }
    pages: dict[str, Presumed] = {
        "get-started/concepts/projects": Presumed((("bash", "nemo workspaces create ml-team"),)),
        "get-started/concepts/manage-files": Presumed(
            (("bash", _FILES), ("bash", "nemo workspaces create my-workspace")),
            before={
                "# Upload a single file": _FILESET,
                'remote_path="config.json"': (("bash", "nemo files upload config.json my-files"),),
                "old-data.jsonl": (
                    ("bash", "nemo files upload data.jsonl my-files --remote-path training/old-data.jsonl"),
                ),
            },
        ),
        "customizer/manage-model-entities/create-fileset": Presumed((("bash", _models("qwen3-1.7b")),)),
        "customizer/manage-model-entities/create-model-entity": Presumed(_TRAINING),
        "customizer/manage-customization-jobs/create-job": Presumed(_TRAINING),
        "customizer/manage-customization-jobs/get-job-status": Presumed(
            (*_TRAINING, ("python", _CLIENT + _job("automodel-a1b2c3d4e5f6", ends=True)))
        ),
        "customizer/manage-customization-jobs/list-active-jobs": Presumed(),
        "customizer/manage-customization-jobs/cancel-job": Presumed(
            (*_TRAINING, ("python", _CLIENT + _job("automodel-a1b2c3d4e5f6", ends=False, epochs=5_000)))
        ),
        "customizer/tutorials/metrics": Presumed(
            (*_TRAINING, ("python", _CLIENT + _job("my-sft-job", ends=True))),
            replaced={"default/llama-3-2-1b": "default/qwen3-1.7b"},
        ),
        "customizer/tutorials/format-training-dataset": Presumed(
            (*_TRAINING, ("bash", _rows("my-tool-dataset"))),
            replaced={"llama-3-2-1b": model, "max_tokens=1024": "max_tokens=64"},
        ),
        "customizer/tutorials/import-hf-model": Presumed(_TUTORIAL),
        "customizer/tutorials/lora-customization-job": Presumed((("bash", _models("qwen3-0.6b")), *_TUTORIAL)),
        "customizer/tutorials/sft-customization-job": Presumed((("bash", _models("llama-3-2-1b-base")), *_TUTORIAL)),
        "evaluator/metrics/similarity": Presumed(
            before={"job = evaluator.submit(metric=metric, dataset=dataset)": (("python", _EVALUATION),)}
        ),
        "evaluator/metrics/job-management": Presumed(
            before={'"my-job-name"': (("python", "name_of_job = job.name"),)},
            replaced={'"my-job-name"': "name_of_job"},
        ),
        "evaluator/metrics/results": Presumed(
            before={'"my-job-name"': (("python", "name_of_job = job.name"),)},
            replaced={'"my-job-name"': "name_of_job"},
        ),
        "evaluator/metrics/model-configuration": Presumed((("python", _EVALUATION),)),
        "evaluator/metrics/llm-as-a-judge": Presumed(
            replaced={"meta/llama-3.1-70b-instruct": outputs.judge_model or outputs.base_model}
        ),
        "cli/troubleshooting": Presumed(
            (("bash", f"nemo config set --base-url {outputs.nemo_url} --workspace default"),),
            replaced={"<your-base-url>": outputs.nemo_url, "/path/to/venv": str(ROOT / ".venv-platform")},
        ),
        "cli/working-with-resources": Presumed(
            before=dict.fromkeys(("--input-file workspace.json", "cat workspace.json"), _WORKSPACE)
        ),
    }
    page = pages.get(topic, Presumed())
    client: Steps = (("python", _CLIENT),)
    return changed(
        page, preparations=(*client, *page.preparations), variables=_KEYS, replaced=inference | page.replaced
    )


def rewritten(text: str, replacements: Mapping[str, str]) -> str:
    """Replace in a text, one after the other."""
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
