"""`nemostack migrate` from our services to NVIDIA's own platform, both as processes, without NIM and without Pulumi."""

import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from infra.config import LocalSettings
from infra.local.folders import StackFolder
from infra.local.platform import PlatformPlan
from infra.local.services import Plan, ServiceSpec
from nemostack.clients import Clients
from nemostack.clients.data_store import accepting_empty_commit_url
from nemostack.clone import ROOT
from nemostack.outputs import StackOutputs
from tests.local.conftest import SECOND_STACK
from tests.unit.command_line import run_command

pytestmark = pytest.mark.slow

START_S = 300
MODEL = "nemostack/tiny-instruct"
WEIGHTS = os.urandom(2_000_000)
ROWS = b'{"prompt": "a?", "completion": "b"}\n'
CONFIG: dict[str, Any] = {
    "type": "custom",
    "name": "answers",
    "namespace": "law",
    "tasks": {
        "qa": {
            "type": "chat-completion",
            "params": {"template": {"messages": [{"role": "user", "content": "{{ item.prompt }}"}], "max_tokens": 5}},
            "dataset": {"files_url": "hf://datasets/law/legal/testing/test.jsonl"},
            "metrics": {
                "em": {"type": "em", "params": {"ground_truth": "{{ item.completion }}"}},
                "meteor": {"type": "meteor", "params": {"ground_truth": "{{ item.completion }}"}},
            },
        }
    },
}


def start(spec: ServiceSpec, plan: Plan) -> "subprocess.Popen[bytes]":
    (plan.folder.config).mkdir(parents=True, exist_ok=True)
    (plan.folder.data / spec.name / "home").mkdir(parents=True, exist_ok=True)
    (plan.folder.config / f"{spec.name}.json").write_text(json.dumps(spec.settings))
    environment = {"PATH": os.environ["PATH"], "HOME": str(plan.folder.path), **plan.environment, **spec.environment}
    log = (plan.folder.path / f"{spec.name}.log").open("wb")
    process = subprocess.Popen(
        spec.command, cwd=plan.root, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    log.close()
    # the gateway says of itself that it is well when all services behind it are, and the Customizer is not started
    health_path = "/v1/namespaces" if spec.name == "gateway" else spec.health_path
    deadline = time.monotonic() + START_S
    while True:
        try:
            if httpx.get(plan.url(spec.name) + health_path, timeout=5, trust_env=False).is_success:
                return process
        except httpx.HTTPError:
            pass
        assert process.poll() is None, (
            f"{spec.name} ended: {(plan.folder.path / f'{spec.name}.log').read_text()[-2000:]}"
        )
        assert time.monotonic() < deadline, spec.name
        time.sleep(0.3)


@pytest.fixture
def lines(base_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StackOutputs, StackOutputs]]:
    folder = tmp_path_factory.mktemp("lines")
    model = {"id": MODEL, "path": "tests/base_model/weights"}
    plans: list[Plan] = []
    processes = []
    for number, kind in enumerate((Plan, PlatformPlan)):
        settings = LocalSettings.model_validate({"base_port": base_port + number * SECOND_STACK, "base_model": model})
        own = StackFolder(folder / kind.__name__)
        own.path.mkdir()
        plans.append(kind(root=ROOT, folder=own, settings=settings))
    try:
        for plan, wanted in zip(
            plans, ({"data_store", "entity_store", "evaluator", "gateway"}, {"platform"}), strict=True
        ):
            processes += [start(spec, plan) for spec in plan.services() if spec.name in wanted]
        yield plans[0].outputs(), plans[1].outputs()
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def fill(old: Clients) -> None:
    """Put one thing of each kind into the services of the 25.x line."""
    old.datasets.upload("law", "legal", {"testing/test.jsonl": ROWS, "training/train.jsonl": ROWS * 3}, message="m")
    old.datasets.register("law", "legal", description="questions", fields={"made_by": "us"})
    api = HfApi(endpoint=f"{old.outputs.data_store_url}/v1/hf", token=False)
    api.create_repo("law/adapter", repo_type="model")
    for path, content in (("adapter_model.safetensors", WEIGHTS), ("adapter_config.json", b"{}")):
        with accepting_empty_commit_url():
            api.upload_file(path_or_fileobj=io.BytesIO(content), path_in_repo=path, repo_id="law/adapter")
    old.sdk.models.create(
        name="adapter@cust-1",
        namespace="law",
        base_model=MODEL,
        artifact={"files_url": "hf://models/law/adapter", "status": "upload_completed"},
        peft={"finetuning_type": "lora"},
    )
    old.sdk.models.create(name="elsewhere", namespace="law", api_endpoint={"url": "http://x/v1", "model_id": "x"})
    turns = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    old.models.register_prompt("law/shown", base_model=MODEL, examples=json.dumps(turns), fields={})
    old.sdk.evaluation.configs.create(**CONFIG)
    old.sdk.evaluation.configs.create(type="gsm8k", name="sums", namespace="law")


def test_everything_that_has_a_counterpart_arrives_as_it_was(
    lines: tuple[StackOutputs, StackOutputs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    for file, outputs in zip(files, lines, strict=True):
        file.write_text(outputs.model_dump_json())
    command = ["migrate", "--from", str(files[0]), "--to", str(files[1]), "--out", str(tmp_path / "out")]
    with Clients(lines[0]) as old, Clients(lines[1]) as new:
        fill(old)
        new.platform.create_model("nemostack-tiny-instruct", fileset=None, description="base")

        # a dry run changes nothing
        assert run_command(*command, "--dry-run") == 0
        assert "4 things would be moved, 2 cannot be" in capsys.readouterr().out
        assert not new.platform.has_workspace("law")

        assert run_command(*command) == 0
        said = capsys.readouterr().out
        assert "4 things are on the platform, 2 have no counterpart, 5 files compared by SHA-256, all the same" in said
        assert "the platform has no benchmarks such as gsm8k" in said
        law = new.platform.within("law")
        assert law.read("legal", "testing/test.jsonl") == ROWS
        fileset = law.fileset("legal")
        assert fileset is not None
        assert fileset["custom_fields"]["made_by"] == "us"
        assert new.platform.read("law-adapter-cust-1", "adapter_model.safetensors") == WEIGHTS
        assert new.models.has_model("default/law-adapter-cust-1")
        prompt = law.prompt("shown")
        assert prompt is not None
        assert [turn["content"] for turn in prompt["messages"]] == ["q", "a", "{{ prompt }}"]
        spec = json.loads(law.read("answers", "qa.json"))
        assert spec["dataset"] == "law/legal#testing/test.jsonl"
        assert "has no metric meteor" in said

        # again: nothing is moved twice; what was spoilt meanwhile is moved again, and the source is as it was
        law.upload("legal", "testing/test.jsonl", b"spoilt")
        assert run_command(*command) == 0
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        results = {row["source"]: row["result"] for row in report["rows"]}
        assert results["law/legal"] == "moved"
        assert results["law/adapter@cust-1"] == "moved before"
        assert law.read("legal", "testing/test.jsonl") == ROWS
        assert old.data_store.read("law/legal", "testing/test.jsonl") == ROWS
    assert "law/legal" in (tmp_path / "out" / "report.html").read_text()
    assert run_command("migrate", "--from", str(files[1]), "--to", str(files[0])) == 2
