"""kubectl as a process: what it is given, what its failures become, and what a look at a cluster costs."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import main
from nemostack.errors import Forbidden, NotFound, ServiceError, TargetError, Unreachable
from nemostack.kubectl import client
from nemostack.kubectl.client import Kubectl
from operations.cluster_snapshot import ALWAYS, IF_SERVED, MAX_TAILS, take
from operations.doctor.cluster import diagnose, look
from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.operations import healthy_cluster as h


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    made = FakeKubectl(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(made.path))
    healthy(made)
    return made


def healthy(made: FakeKubectl) -> None:
    made.write("kinds.json", h.KINDS)
    made.write("objects.json", h.objects())
    made.write("secrets.json", h.secrets())
    made.write("api-resources.txt", "\n".join((*ALWAYS, *IF_SERVED)) + "\n")
    made.write(
        "releases.txt",
        "nemo-datastore   sh.helm.release.v1.nemo.v1   helm.sh/release.v1   1   3d   nemo   deployed   1\n",
    )


def test_all_kinds_are_known_to_the_fake() -> None:
    assert {*ALWAYS, *IF_SERVED} <= h.KINDS.keys()


# --- which cluster ------------------------------------------------------------------------------------------------


def test_path_and_context_of_the_outputs(fake: FakeKubectl, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("mine")
    cluster = h.cluster_outputs(kubeconfig=str(tmp_path / "config"), context="prod")
    with Kubectl.opened(h.outputs(cluster)) as opened:
        opened.run("version")
    (call,) = fake.calls
    assert (call["text"], call["context"]) == ("mine", "prod")


def test_secret_kubeconfig_is_private_and_gone_afterwards(fake: FakeKubectl) -> None:
    with pytest.raises(NotFound), Kubectl.opened(h.outputs(kubeconfig="apiVersion: v1")) as opened:
        opened.run("logs", "--namespace=x", "y")
    (call,) = fake.calls
    assert (call["text"], call["mode"]) == ("apiVersion: v1", "0o600")
    assert not Path(call["kubeconfig"]).parent.exists()


def test_without_either_kubectl_decides(fake: FakeKubectl) -> None:
    with Kubectl.opened(h.outputs()) as opened:
        opened.run("version")
    assert fake.calls[0]["kubeconfig"] is None


def test_kubeconfig_that_is_not_there(fake: FakeKubectl) -> None:
    cluster = h.cluster_outputs(kubeconfig="/nowhere/config")
    with pytest.raises(TargetError, match="/nowhere/config, is not there"), Kubectl.opened(h.outputs(cluster)):
        pass
    with (
        pytest.raises(TargetError, match="has no cluster"),
        Kubectl.opened(h.outputs().model_copy(update={"cluster": None})),
    ):
        pass


def test_log_commands_of_the_outputs(fake: FakeKubectl, tmp_path: Path) -> None:
    logs = ["kubectl", "logs", "-n", "llama", "service/llama"]
    with client.log_command(h.outputs(kubeconfig="secret"), logs) as argv:
        assert argv[0] == str(fake.path)
        assert Path(argv[argv.index("--kubeconfig") + 1]).read_text() == "secret"
        assert argv[-4:] == logs[1:]
    assert not Path(argv[argv.index("--kubeconfig") + 1]).exists()
    named = ["kubectl", "--kubeconfig", "/some/config", *logs[1:]]
    with client.log_command(h.outputs(kubeconfig="secret"), named) as argv:
        assert argv == [str(fake.path), *named[1:]]
    local = h.outputs().model_copy(update={"cluster": None})
    with client.log_command(local, ["tail", "x.log"]) as argv:
        assert argv == ["tail", "x.log"]


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind", "shown"),
    [
        (
            "E0105 12:00:00.1 1 memcache.go:265] noise\nThe connection to the server 10.0.0.1:6443 was refused - did",
            Unreachable,
            "is the cluster up",
        ),
        ("Unable to connect to the server: dial tcp: lookup api.x on 1.1.1.1:53: no such host", Unreachable, "VPN"),
        ("Unable to connect to the server: tls: x509: certificate signed by unknown", Unreachable, "earlier one"),
        ('Error from server (Forbidden): pods is forbidden: User "dev" cannot list', Forbidden, "ask for this right"),
        ("error: You must be logged in to the server (Unauthorized)", Forbidden, "log in again"),
        (
            "Unable to connect to the server: getting credentials: exec: executable gke-gcloud-auth-plugin not found",
            Forbidden,
            "plugin",
        ),
        ('Error from server (NotFound): pods "x" not found', NotFound, 'pods "x" not found'),
        ('error: the server doesn\'t have a resource type "nimcaches"', NotFound, "nimcaches"),
        ("something odd", ServiceError, "something odd"),
    ],
)
def test_failures(fake: FakeKubectl, said: str, kind: type[ServiceError], shown: str) -> None:
    fake.fail("version", said)
    with Kubectl.opened(h.outputs()) as opened, pytest.raises(ServiceError) as caught:
        opened.run("version", "-o", "json")
    assert type(caught.value) is kind
    text = str(caught.value)
    assert text.startswith("`kubectl version -o json` failed (exit 1): ")
    assert shown in text
    assert "memcache" not in text
    assert "\n" not in text


def test_a_call_that_hangs(fake: FakeKubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "KILL_AFTER_S", 0.2)
    fake.fail("version", "", sleep=30)
    with Kubectl.opened(h.outputs()) as opened, pytest.raises(Unreachable, match=r"did not end within 0\.4 s"):
        opened.run("version", timeout_s=0.2)


def test_kubectl_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    with Kubectl.opened(h.outputs()) as opened:
        with pytest.raises(TargetError, match="make env"):
            opened.run("version")
        with pytest.raises(TargetError, match="make env"):
            opened.argv("version")


def test_kubectl_of_the_path_serves_where_none_is_beside_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = FakeKubectl(tmp_path / "bin")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(fake.path.parent))
    with Kubectl.opened(h.outputs()) as opened:
        assert opened.argv("version") == [str(fake.path), "version"]


# --- a look at the cluster ----------------------------------------------------------------------------------------


def test_healthy_cluster_through_kubectl(fake: FakeKubectl) -> None:
    with Kubectl.opened(h.outputs()) as opened:
        found = list(diagnose(take(opened, h.outputs())))
    assert [f.line for f in found if f.level != "ok"] == []
    assert len(found) == 11
    assert len(fake.calls) == 5 + 3 + 3  # version, kinds, objects, releases twice; three names of Secrets; three logs


def test_kinds_that_are_not_served_are_not_asked_for(fake: FakeKubectl) -> None:
    fake.write("api-resources.txt", "\n".join(ALWAYS) + "\n")
    with Kubectl.opened(h.outputs()) as opened:
        take(opened, h.outputs())
    (get,) = [c["argv"] for c in fake.calls if c["argv"][0] == "get" and "nodes" in c["argv"][1]]
    assert "nvidia" not in get[1]


def test_one_kind_refused_is_a_gap_and_the_rest_counts(fake: FakeKubectl) -> None:
    nodes = [one for one in h.objects() if one["kind"] == "Node"]
    fake.fail(
        "get nodes",
        'Error from server (Forbidden): events is forbidden: User "dev" cannot list resource "events"',
        stdout=json.dumps({"kind": "List", "items": nodes}),
    )
    with Kubectl.opened(h.outputs()) as opened:
        seen = take(opened, h.outputs())
    assert len(seen.all("Node")) == 3
    assert "events is forbidden" in seen.gaps[0]


def test_logs_of_failed_containers_come_from_before_the_restart(fake: FakeKubectl) -> None:
    objects = h.objects()
    pod = next(o for o in objects if o["kind"] == "Pod" and o["metadata"]["name"] == "nemo-evaluator-0")
    pod["status"]["containerStatuses"][0].update(
        state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"exitCode": 1}}, restartCount=4
    )
    fake.write("objects.json", objects)
    fake.write("nemo-evaluator.nemo-evaluator-0.log", "first\nlast words\n")
    with Kubectl.opened(h.outputs()) as opened:
        found = list(diagnose(take(opened, h.outputs())))
    assert any("4 restarts: last words" in f.evidence for f in found)
    (call,) = [c["argv"] for c in fake.calls if "nemo-evaluator-0" in c["argv"]]
    assert "--previous" in call
    assert any(flag.startswith("--limit-bytes=") for flag in call)


def test_logs_are_bounded(fake: FakeKubectl) -> None:
    objects = h.objects()
    for number in range(MAX_TAILS + 5):
        pod = h.pod("nim")
        pod["metadata"]["name"] = f"crash-{number}"
        pod["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 1, "reason": "Error"}}
        objects.append(pod)
    fake.write("objects.json", objects)
    with Kubectl.opened(h.outputs()) as opened:
        take(opened, h.outputs())
    assert sum(c["argv"][0] == "logs" for c in fake.calls) == MAX_TAILS


def test_cluster_that_does_not_answer_is_a_finding(fake: FakeKubectl) -> None:
    fake.fail("version", "The connection to the server localhost:8080 was refused - did you specify the right host?")
    (finding,) = look(h.outputs(), lambda _text: None)
    assert (finding.level, finding.check) == ("bad", "cluster")
    assert "was refused" in finding.evidence
    assert "VPN" in finding.fix


# --- the command --------------------------------------------------------------------------------------------------


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    out, err = capfd.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.fixture
def file(tmp_path: Path, stack: Any) -> list[str]:
    values = stack.outputs.model_dump() | {"cluster": h.cluster_outputs().model_dump(), "target": "existing"}
    values["judge_url"] = "http://llama.llama.svc.cluster.local:8000"
    values["nim_internal_url"] = "http://llama.llama.svc.cluster.local:8000"
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(values))
    return ["--outputs", str(path)]


def test_doctor_on_a_cluster(fake: FakeKubectl, file: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, "doctor", *file)
    assert (code, "Looking at the cluster of target existing" in err) == (0, True)
    assert "ok\tcluster: nodes: 3 of 3 nodes ready" in out
    assert "stores and returns a file" in out  # the services are looked at as before
    assert "ok\tJudge: answers: http://llama.llama.svc.cluster.local:8000 is inside the cluster" in out
    fake.write("objects.json", [o for o in h.objects() if o["metadata"]["name"] != "volcano-admission"])
    code, out, err = call(capfd, "doctor", *file, "--format", "json")
    assert code == 8
    bad = [finding for finding in json.loads(out) if finding["level"] == "bad"]
    assert {finding["check"] for finding in bad} == {"webhook dead"}
    assert all(finding["fix"] for finding in bad)


def test_doctor_format(file: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capfd, "doctor", *file, "--format", "xml")
    assert (code, err) == (2, "error: --format xml: choose one of table, json\n")


def test_doctor_goes_on_when_the_cluster_is_away(
    fake: FakeKubectl, file: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    fake.fail("version", "dial tcp 10.0.0.1:443: i/o timeout")
    code, out, _ = call(capfd, "doctor", *file)
    assert code == 8
    assert "bad\tcluster: cluster: `kubectl version" in out
    assert "NIM: is ready" in out
