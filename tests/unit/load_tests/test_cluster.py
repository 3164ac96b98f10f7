"""A load from the stack's cluster: options and files, what pods say, and the program in the master's pod."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from load_tests import plan
from load_tests.cluster import objects, pod
from load_tests.cluster.observation import INDEX, look, refusal
from load_tests.cluster.request import Fleet, Request, request_from
from nemostack import sample_dataset
from nemostack.clone import ROOT
from nemostack.errors import BadInput, TargetError
from nemostack.version import VERSION
from tests.deadlines import Deadline
from tests.unit.operations import healthy_cluster as h

FLEET = Fleet(3, "registry.example.com/load:1")


def outputs_file(folder: Path, **changes: Any) -> Path:
    file = folder / "outputs.json"
    file.write_text(h.outputs(**changes).model_dump_json())
    return file


def request(folder: Path, options: str = "", environment: dict[str, str] | None = None, **changes: Any) -> Request:
    command = f"--outputs {outputs_file(folder, **changes)} --out {folder / 'run'} {options}"
    return request_from(FLEET, command.split(), environment or {})


def value(arguments: list[str], option: str) -> str:
    """What an option is set to at last, as argparse takes it."""
    at = max(k for k, word in enumerate(arguments) if word == option or word.startswith(f"{option}="))
    return arguments[at].partition("=")[2] or arguments[at + 1]


def test_the_master_loads_nim_at_its_address_in_the_cluster(tmp_path: Path) -> None:
    made = request(tmp_path, "-u 8 --duration 20s")
    assert made.namespace == "llama"
    assert value(made.arguments, "--nim-url") == "http://llama.llama.svc:8000"
    assert value(made.arguments, "--base-model") == "meta/llama-3.2-3b-instruct"
    assert value(made.arguments, "--expect-workers") == "3"
    assert made.arguments[:4] == ["-u", "8", "--duration", "20s"]
    assert not {"--outputs", "--out", "--stack"} & set(made.arguments)


def test_the_platform_is_loaded_through_its_gateway(tmp_path: Path) -> None:
    cluster = h.cluster_outputs(services={"nim": "llama/llama:8000", "platform": "nemo/platform-api:8080"})
    made = request(tmp_path, "--adapters none", product="platform", cluster=cluster)
    assert made.namespace == "nemo"
    assert value(made.arguments, "--nim-url").startswith("http://platform-api.nemo.svc:8080/apis/inference-gateway/")
    assert value(made.arguments, "--server-metrics") == "http://llama.llama.svc.cluster.local:8000/metrics"


def test_files_go_with_the_run_and_options_come_from_the_environment_too(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text("objectives")
    (tmp_path / "trace.jsonl").write_text("rows")
    set_there = {
        "NEMOSTACK_LOAD_TRACE": str(tmp_path / "trace.jsonl"),
        "NEMOSTACK_LOAD_SEED": "7",
        "NEMOSTACK_LOAD_UNIQUE_PREFIX": "true",
        "NEMOSTACK_LOAD_FIXED_LENGTH": "false",
        "NEMOSTACK_LOAD_GRACE": "9s",
    }
    made = request(tmp_path, f"--slo={tmp_path / 'slo.yaml'} --grace 5s", set_there)
    assert made.files == {
        "prompts": sample_dataset.PROMPTS,
        "trace": tmp_path / "trace.jsonl",
        "slo": tmp_path / "slo.yaml",
    }
    assert value(made.arguments, "--slo") == f"{objects.FOLDER}/slo"
    assert value(made.arguments, "--seed") == "7"
    assert value(made.arguments, "--grace") == "5s"
    assert "--unique-prefix" in made.arguments
    assert "--fixed-length" not in made.arguments
    with tarfile.open(fileobj=io.BytesIO(made.packed())) as archive:
        packed = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    assert (packed["trace"], packed["slo"]) == (b"rows", b"objectives")
    assert json.loads(packed["arguments.json"]) == made.arguments


@pytest.mark.parametrize(
    "options", ["--processes 4", "--nim-url http://nim", "-H http://nim", "--master", "--worker", "--beside chaos"]
)
def test_what_contradicts_pods_is_refused(tmp_path: Path, options: str) -> None:
    with pytest.raises(BadInput, match="is not for a load from the stack's cluster"):
        request(tmp_path, options)


def test_a_stack_without_a_cluster_is_refused(tmp_path: Path) -> None:
    file = outputs_file(tmp_path)
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "cluster"}))
    with pytest.raises(TargetError, match="--processes N starts them here"):
        request_from(FLEET, ["--outputs", str(file), "--out", "x"], {})


def test_an_image_is_asked_for_by_name_and_none_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEMOSTACK_LOAD_IMAGE", raising=False)
    with pytest.raises(BadInput, match=r"None is published; load_tests/cluster/Dockerfile makes one"):
        plan.make(["--stack", "gke", "--workers", "3"])
    monkeypatch.setenv("NEMOSTACK_LOAD_IMAGE", "registry.example.com/load:1")
    assert plan.make(["--stack", "gke", "--workers", "3"]).fleet == FLEET
    assert plan.make(["--stack", "gke"]).fleet is None
    with pytest.raises(BadInput, match="belong to --workers"):
        plan.make(["--stack", "gke", "--image", "other"])
    with pytest.raises(BadInput, match="1 or more"):
        plan.make(["--stack", "gke", "--workers", "0"])


def test_the_dockerfile_is_where_the_message_says_and_takes_the_locked_versions() -> None:
    script = (ROOT / "load_tests" / "cluster" / "Dockerfile").read_text()
    pattern = script.split("sed -n '")[1].split("'")[0]
    lines = subprocess.run(
        ["sed", "-n", pattern, str(ROOT / "requirements.txt")], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"locust", "gevent", "pydantic"} <= {line.partition("==")[0] for line in lines}
    assert all("==" in line and "\\" not in line for line in lines)


# --- pods ---------------------------------------------------------------------------------------------------------


def a_pod(name: str, phase: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": {INDEX: name[-1]}}, "status": {"phase": phase, **status}}


def container(state: str, **facts: Any) -> list[dict[str, Any]]:
    return [{"state": {state: facts}}]


def test_lost_workers_are_named_with_the_reason() -> None:
    sight = look(
        [
            a_pod("w-0", "Running"),
            a_pod("w-1", "Failed", containerStatuses=container("terminated", reason="OOMKilled", exitCode=137)),
            a_pod("w-2", "Failed", reason="Evicted", message="The node was low on memory."),
            a_pod("w-3", "Succeeded"),
        ]
    )
    assert (sight.running, sight.ended) == (1, 1)
    assert sight.lost == {
        "worker 1": "OOMKilled (exit 137)",
        "worker 2": "Evicted: The node was low on memory.",
    }


def test_a_pod_that_waits_says_for_what() -> None:
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }
    sight = look([a_pod("w-0", "Pending", conditions=[unschedulable])])
    assert (sight.waiting, sight.hopeless) == ("0/3 nodes are available: 3 Insufficient cpu.", False)
    creating = a_pod("w-1", "Pending", containerStatuses=container("waiting", reason="ContainerCreating"))
    assert look([creating]).waiting == "starting"
    pulling = a_pod("w-2", "Pending", containerStatuses=container("waiting", reason="ErrImagePull", message="no host"))
    assert (look([pulling]).waiting, look([pulling]).hopeless) == ("ErrImagePull: no host", False)
    wrong = a_pod("w-3", "Pending", containerStatuses=container("waiting", reason="InvalidImageName"))
    assert (look([creating, wrong]).waiting, look([creating, wrong]).hopeless) == ("InvalidImageName", True)


def test_a_refusal_is_in_the_events_of_the_job() -> None:
    created = {"reason": "SuccessfulCreate", "message": "Created pod"}
    assert refusal([created]) == ""
    assert refusal([created, {"reason": "FailedCreate", "message": "exceeded quota"}]) == "exceeded quota"


def test_one_failed_worker_ends_no_other_and_is_not_replaced() -> None:
    place = objects.Place(name="n", namespace="ns", image="i", workers=4)
    spec = objects.workers_job(place)["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (
        4,
        4,
        0,
        4,
    )
    assert objects.master_job(place)["spec"]["backoffLimit"] == 0


# --- the program in the pod ---------------------------------------------------------------------------------------


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Callable[[str], "Pod"]]:
    made: list[Pod] = []

    def make(script: str) -> Pod:
        made.append(Pod(tmp_path, script))
        return made[-1]

    yield make
    for one in made:
        one.holding.kill()
        one.holding.wait()


class Pod:
    """The program, with a load test that is not one."""

    def __init__(self, folder: Path, script: str) -> None:
        package = folder / "fake" / "load_tests"
        package.mkdir(parents=True)
        (package / "__main__.py").write_text(script)
        (package / "__init__.py").write_text("")
        (package / "cluster").symlink_to(ROOT / "load_tests" / "cluster")
        path = os.pathsep.join([str(package.parent), str(ROOT)])
        self.environment = {**os.environ, pod.FOLDER_VARIABLE: str(folder / "pod"), "PYTHONPATH": path}
        self.program = [sys.executable, "-m", "load_tests.cluster.pod"]
        self.holding = subprocess.Popen([*self.program, "hold"], env=self.environment, cwd=folder)

    def ask(self, *command: str, given: bytes = b"") -> bytes:
        return subprocess.run(
            [*self.program, *command], env=self.environment, input=given, capture_output=True, check=True
        ).stdout

    def state(self, offset: int = 0) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.ask("state", str(offset)))
        return told

    def await_state(self, key: str, wanted: object) -> dict[str, Any]:
        deadline = Deadline(30)
        while (seen := self.state())[key] != wanted:
            assert not deadline.passed, seen
            time.sleep(0.05)
        return seen


SCRIPT = """
import pathlib, signal, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
(out / "raw").mkdir(parents=True)
(out / "run.json").write_text("{}")
(out / "raw" / "requests-0.jsonl").write_text(pathlib.Path(sys.argv[1]).read_text())
print("one of many", file=sys.stderr, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(22))
if "wait" in sys.argv:
    time.sleep(60)
print("the last", file=sys.stderr)
sys.exit(20)
"""


def test_a_run_in_a_pod_from_its_files_to_its_samples(pods: Callable[[str], Pod], tmp_path: Path) -> None:
    ours = pods(SCRIPT)
    ours.ask("put", given=pod.pack({"arguments.json": json.dumps([str(tmp_path / "pod" / "in")]).encode(), "in": b"x"}))
    ended = ours.await_state("exit_code", 20)
    assert (ended["said"], ended["version"]) == ("one of many\nthe last\n", VERSION)
    assert ours.state(ended["offset"])["said"] == ""
    with tarfile.open(fileobj=io.BytesIO(ours.ask("get"))) as archive:
        assert {one.name for one in archive if one.isfile()} == {"run.json", "raw/requests-0.jsonl"}
    assert ours.holding.poll() is None, "the results wait to be fetched"
    ours.ask("done")
    assert ours.holding.wait(10) == 0


@pytest.mark.parametrize("how", ["told", "deleted"])
def test_a_run_in_a_pod_is_ended_early(pods: Callable[[str], Pod], tmp_path: Path, how: str) -> None:
    ours = pods(SCRIPT)
    ours.ask(
        "put",
        given=pod.pack({"arguments.json": json.dumps([str(tmp_path / "pod" / "in"), "wait"]).encode(), "in": b"x"}),
    )
    ours.await_state("said", "one of many\n")
    if how == "told":
        ours.ask("stop")
        ours.await_state("exit_code", 22)
        ours.ask("done")
    else:
        ours.holding.send_signal(signal.SIGTERM)
    assert ours.holding.wait(10) == 0
    assert ours.state()["exit_code"] == 22


def test_commands_may_come_before_the_program_has_begun(tmp_path: Path) -> None:
    environment = {**os.environ, pod.FOLDER_VARIABLE: str(tmp_path / "pod")}
    for word in ("stop", "done"):
        subprocess.run([sys.executable, "-m", "load_tests.cluster.pod", word], env=environment, cwd=ROOT, check=True)
    held = subprocess.run(
        [sys.executable, "-m", "load_tests.cluster.pod", "hold"], env=environment, cwd=ROOT, timeout=30, check=False
    )
    assert held.returncode == 1, "it was told to end before it had anything to do"


def test_a_tar_cannot_write_outside_of_the_folder(tmp_path: Path) -> None:
    environment = {**os.environ, pod.FOLDER_VARIABLE: str(tmp_path / "pod")}
    (tmp_path / "pod").mkdir()
    bad = pod.pack({"../outside": b"x"})
    done = subprocess.run(
        [sys.executable, "-m", "load_tests.cluster.pod", "put"],
        env=environment,
        cwd=ROOT,
        input=bad,
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "pod" / "ready").exists()
