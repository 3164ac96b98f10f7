"""Training under the platform's own job service, through NVIDIA's SDK and command line."""

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from nemo_platform import ConflictError, NeMoPlatform, UnprocessableEntityError

from nemostack import clone
from tests.deadlines import Deadline
from tests.platform.conftest import NEMO

WEIGHTS = clone.ROOT / "tests" / "base_model" / "weights"
ENDED = {"completed", "error", "cancelled"}
COLOURS = ("red", "green", "blue", "white")
ROWS = "".join(
    json.dumps({"prompt": f"Item {n}: what colour?", "completion": f"It is {COLOURS[n % 4]}."}) + "\n"
    for n in range(40)
)
STEPS = ["model-and-dataset-download", "training", "model-upload", "model-entity-creation"]
ADAPTER_JOB = {
    "model": "default/tiny",
    "dataset": {"training": "default/rows"},
    "training": {"lora": {"rank": 8, "alpha": 16}, "max_seq_length": 128},
    "schedule": {"epochs": 2, "seed": 1},
    "batch": {"global_batch_size": 8},
    "optimizer": {"learning_rate": 1e-3},
    "output": {"name": "colours"},
}
pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what NVIDIA's SDK stands on
]


def put(client: NeMoPlatform, fileset: str, files: dict[str, bytes]) -> None:
    client.files.filesets.create(name=fileset, workspace="default")
    for path, content in files.items():
        client.files.upload_content(content=content, remote_path=path, fileset=fileset, workspace="default")


@pytest.fixture(scope="session")
def tiny(client: NeMoPlatform) -> str:
    put(client, "tiny", {path.name: path.read_bytes() for path in WEIGHTS.iterdir() if path.is_file()})
    client.models.create(name="tiny", workspace="default", fileset="default/tiny")
    put(client, "rows", {"training.jsonl": ROWS.encode(), "validation.jsonl": ROWS[: ROWS.index("\n") + 1].encode()})
    put(client, "broken-rows", {"training.jsonl": b'{"prompt": "a"}\n'})
    return "default/tiny"


@pytest.fixture(scope="session")
def submitted(
    client: NeMoPlatform, tiny: str, platform_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Names of jobs that run side by side while the tests look at one after the other."""
    assert tiny
    create = client.customization.automodel.jobs.create
    names = {"adapter": create(spec=ADAPTER_JOB, name="adapter-job").job.name}
    file = tmp_path_factory.mktemp("jobs") / "job.json"
    broken = {"model": {"name": "tiny"}, "dataset": {"path": "broken-rows"}, "output": {"name": "never"}}
    file.write_text(json.dumps(broken))
    done = nemo("customization", "unsloth", "submit", str(file), "--base-url", platform_url)
    assert done.returncode == 0, done.stderr
    names["failing"] = json.loads(done.stdout)["name"]
    endless = ADAPTER_JOB | {"schedule": {"epochs": 10_000}, "output": {"name": "never-2"}}
    names["cancelled"] = create(spec=endless).job.name
    return names


def nemo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(NEMO), *arguments], capture_output=True, text=True, check=False, timeout=300)


def watch(client: NeMoPlatform, job: str, until: Any, seconds: float = 900) -> list[Any]:
    """Poll the job's status until `until` holds; every status that was seen."""
    seen: list[Any] = []
    deadline = Deadline(seconds)
    while True:
        status = client.jobs.get_status(name=job, workspace="default")
        seen.append(status)
        if until(status):
            return seen
        assert status.status not in ENDED, status
        assert not deadline.passed, status
        time.sleep(0.2)


def details_of(status: Any, step: str) -> dict[str, Any]:
    tasks = [task for one in status.steps if one.name == step for task in one.tasks or []]
    return dict(tasks[0].status_details) if tasks else {}


def test_a_job_shows_progress_and_leaves_an_adapter(client: NeMoPlatform, submitted: dict[str, str]) -> None:
    seen = watch(client, submitted["adapter"], lambda status: status.status in ENDED)
    last = seen[-1]
    assert last.status == "completed"
    assert [step.name for step in last.steps] == STEPS
    assert {step.status for step in last.steps} == {"completed"}
    training = details_of(last, "training")
    assert (training["step"], training["max_steps"], training["epoch"], training["num_epochs"]) == (10, 10, 2, 2)
    losses = [point["value"] for point in training["metrics"]["train_loss"]]
    assert losses[-1] < losses[0]
    assert training["val_loss"] == training["metrics"]["val_loss"][-1]["value"]
    assert training["lr"] > 0
    assert training["grad_norm"] > 0
    assert details_of(last, STEPS[0])["downloaded_bytes"] > 10_000_000

    model = client.models.retrieve(name="tiny", workspace="default")
    adapter = next(adapter for adapter in model.adapters if adapter.name == "colours")
    assert adapter.enabled
    assert (adapter.lora_config.rank, adapter.lora_config.alpha) == (8, 16)
    fileset = adapter.fileset.removeprefix("default/")
    config = json.loads(
        client.files.download_content(remote_path="adapter_config.json", fileset=fileset, workspace="default")
    )
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (8, 16, "LORA")
    files = {file.path for file in client.files.list(fileset=fileset, workspace="default").data}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files


def test_a_job_that_fails_tells_why(client: NeMoPlatform, submitted: dict[str, str]) -> None:
    status = watch(client, submitted["failing"], lambda status: status.status in ENDED)[-1]
    assert status.status == "error"
    assert 'training.jsonl line 1: no column "completion"' in status.status_details["error"]["message"]
    failed = next(step for step in status.steps if step.status == "error")
    assert failed.name == "training"
    assert "no column" in failed.tasks[0].error_stack
    assert any("unquantized" in warning for warning in details_of(status, "training")["warnings"])
    assert not [
        adapter
        for adapter in client.models.retrieve(name="tiny", workspace="default").adapters or []
        if adapter.name == "never"
    ]


def test_a_job_can_be_cancelled_and_leaves_nothing(client: NeMoPlatform, submitted: dict[str, str]) -> None:
    job = submitted["cancelled"]
    status = watch(client, job, lambda status: details_of(status, "training").get("step", 0) > 0)[-1]
    pid = details_of(status, "training")["pid"]
    folder = Path(details_of(status, "training")["subprocess_persistent_storage_path"])
    listed = client.jobs.list(workspace="default", filter={"source": "automodel", "status": "active"}).data
    assert job in {one.name for one in listed}
    for _ in range(20):
        with contextlib.suppress(ConflictError):  # "was modified by another request ... Please refetch and retry"
            client.jobs.cancel(name=job, workspace="default")
            break
    assert watch(client, job, lambda status: status.status in ENDED)[-1].status == "cancelled"
    assert not Path(f"/proc/{pid}").exists()
    assert not (folder / "base").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "default/nowhere"}, "model default/nowhere does not exist"),
        ({"dataset": {"training": "nowhere"}}, "fileset default/nowhere does not exist"),
        ({"training": {"training_type": "distillation"}}, "not available on this backend"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused_at_once(client: NeMoPlatform, tiny: str, change: Any, says: str) -> None:
    with pytest.raises(UnprocessableEntityError, match=says):
        client.customization.automodel.jobs.create(spec=ADAPTER_JOB | {"model": tiny} | change)


def test_the_hub_names_its_backends(client: NeMoPlatform) -> None:
    assert client.customization.plugin_status()["contributors"] == ["automodel", "unsloth"]
    explained = nemo("customization", "automodel", "explain")
    assert "global_batch_size" in explained.stdout
