"""What a stack's target decides: who is asked, what an interruption leaves, what may be removed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local import leftovers
from nemostack.kubectl import process
from operations.stacks import commands, environment, stacks
from operations.stacks.stack import Stack
from operations.toolchain import environments, programs, sample_model
from tests.unit.command_line import run_command
from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.operations import healthy_cluster as h
from tests.unit.operations import unfinished_state

CLUSTER = "urn:pulumi:cloud::nemostack::gcp:container/cluster:Cluster::nemostack"


class Pulumi:
    """Stands for the CLI: remembers what it was called with, answers what it is told to."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.calls: list[list[str]] = []
        self.answers: dict[str, tuple[int, str]] = {}

    def __call__(self, command: list[str], _variables: Any = None, *, capture: bool = False) -> tuple[int, str]:
        assert command[:2] == ["pulumi", "--cwd"]
        self.calls.append(command[3:])
        if command[3:5] == ["stack", "init"]:
            state(self.clone, command[5])
        return self.answers.get(" ".join(command[3:5]), (0, ""))

    @property
    def verbs(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("nemostack.clone.ROOT", tmp_path)
    monkeypatch.setattr(environment, "STATE", tmp_path / ".nemostack")
    monkeypatch.setattr(programs, "ensure", lambda _names: {"pulumi": "/usr/bin/pulumi"})
    monkeypatch.setattr(environments, "ensure_for", lambda _target: None)
    monkeypatch.setattr(environments, "ensure_platform", (tmp_path / "platform").touch)
    monkeypatch.setattr(sample_model, "ensure", (tmp_path / "fetched").touch)
    for name in ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi-home"))
    (tmp_path / "Pulumi.yaml").write_text("name: nemostack\n")
    (tmp_path / "Pulumi.local.yaml").write_text("config:\n  nemostack:target: local\n")
    (tmp_path / "Pulumi.cloud.yaml").write_text("config:\n  nemostack:target: gke # ours\n")
    return tmp_path


@pytest.fixture
def pulumi(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    made = Pulumi(clone)
    monkeypatch.setattr(commands, "run", made)
    return made


def state(clone: Path, name: str, *begun: str) -> Path:
    """A state with operations that were begun and never ended."""
    file = clone / ".nemostack" / "pulumi" / ".pulumi" / "stacks" / "nemostack" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    operations = [{"type": "creating", "resource": {"urn": urn}} for urn in begun]
    file.write_text(json.dumps({"checkpoint": {"latest": {"pending_operations": operations}}}))
    return file


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)


# --- who is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "down"])
def test_this_machine_asks_nothing(clone: Path, pulumi: Pulumi, command: str) -> None:
    state(clone, "local")
    assert run_command(command) == 0
    assert {"--yes", "--skip-preview"} <= set(pulumi.calls[-1])


@pytest.mark.parametrize(("command", "verb"), [("up", "up"), ("down", "destroy")])
@pytest.mark.usefixtures("terminal")
def test_elsewhere_pulumi_shows_and_asks(clone: Path, pulumi: Pulumi, command: str, verb: str) -> None:
    state(clone, "cloud")
    assert run_command(command, "--stack", "cloud") == 0
    [call] = [call for call in pulumi.calls if call[:2] != ["stack", "output"]]
    assert call[0] == verb
    assert not {"--yes", "--skip-preview"} & set(call)


@pytest.mark.parametrize("command", ["up", "down"])
def test_without_a_terminal_nothing_happens_elsewhere(
    clone: Path, pulumi: Pulumi, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state(clone, "cloud")
    assert run_command(command, "--stack", "cloud") == 1
    said = capsys.readouterr().err
    assert "stack cloud (target gke) is not on this machine" in said
    assert "pass --yes" in said
    assert pulumi.calls == []


@pytest.mark.parametrize("command", ["up", "down"])
def test_yes_needs_no_terminal_and_keeps_the_preview(clone: Path, pulumi: Pulumi, command: str) -> None:
    state(clone, "cloud")
    assert run_command(command, "--stack", "cloud", "--yes") == 0
    assert "--yes" in pulumi.calls[-1]
    assert "--skip-preview" not in pulumi.calls[-1]


def test_refused_before_the_stack_is_made(clone: Path, pulumi: Pulumi) -> None:
    assert run_command("up", "--stack", "cloud") == 1
    assert pulumi.calls == []


def test_another_target_is_no_setting(clone: Path, pulumi: Pulumi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("up", "--stack", "mine", "--config", "target=gke") == 1
    assert "nemostack config init" in capsys.readouterr().err
    assert "up" not in pulumi.verbs


def test_stack_that_cannot_be_made_for_want_of_a_passphrase(
    clone: Path, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///states")
    for name in environment.PASSPHRASES:
        monkeypatch.delenv(name, raising=False)
    pulumi.answers = {"stack ls": (0, "[]"), "stack init": (255, "")}
    assert run_command("up") == 1
    said = capsys.readouterr().err
    assert "`pulumi stack init local` failed, see above; the backend file:///states is your own" in said
    assert "set PULUMI_CONFIG_PASSPHRASE_FILE" in said


# --- after an interruption ----------------------------------------------------------------------------------------


def test_this_machine_goes_on(clone: Path, pulumi: Pulumi) -> None:
    state(clone, "local", CLUSTER)
    assert run_command("up") == 0
    assert pulumi.verbs == ["refresh", "up"]
    assert "--clear-pending-creates" in pulumi.calls[0]


@pytest.mark.parametrize("command", ["up", "down"])
def test_elsewhere_nothing_is_forgotten(
    clone: Path, pulumi: Pulumi, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = state(clone, "cloud", CLUSTER)
    before = file.read_text()
    assert run_command(command, "--stack", "cloud", "--yes") == 1
    said = capsys.readouterr().err
    assert "  creating gcp:container/cluster:Cluster::nemostack\n" in said
    assert "pulumi refresh -s cloud" in said
    assert {tuple(call[:2]) for call in pulumi.calls} <= {("stack", "output")}
    assert file.read_text() == before


def test_state_in_a_backend_of_the_user(clone: Path, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    pulumi.answers["stack ls"] = (0, json.dumps([{"name": "org/nemostack/cloud"}]))
    exported = {"deployment": {"pending_operations": [{"type": "creating", "resource": {"urn": CLUSTER}}]}}
    pulumi.answers["stack export"] = (0, json.dumps(exported))
    assert run_command("up", "--stack", "cloud", "--yes") == 1
    assert set(pulumi.verbs) == {"stack"}
    pulumi.answers["stack export"] = (0, json.dumps({"deployment": {"manifest": {}}}))
    assert run_command("up", "--stack", "cloud", "--yes") == 0
    assert pulumi.verbs[-1] == "up"


def test_an_interrupted_release_sends_to_helm_first(
    clone: Path, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refresh alone makes Pulumi believe that an upgrade was done which Helm calls pending."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    pulumi.answers["stack ls"] = (0, json.dumps([{"name": "org/nemostack/cloud"}]))
    urn = "urn:pulumi:cloud::nemostack::kubernetes:helm.sh/v3:Release::nemo-customizer/nemo"
    exported = {"deployment": {"pending_operations": [{"type": "updating", "resource": {"urn": urn}}]}}
    pulumi.answers["stack export"] = (0, json.dumps(exported))
    assert run_command("up", "--stack", "cloud", "--yes") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "updating kubernetes:helm.sh/v3:Release::nemo-customizer/nemo" in told
    assert told.index("helm list -A --pending") < told.index("pulumi refresh")
    assert "pending-install wants `helm uninstall`, pending-upgrade `helm rollback`" in told


HELM_RECORD = """
nemo-customizer  sh.helm.release.v1.nemo.v1  helm.sh/release.v1  1  3d  nemo  deployed         1
nemo-customizer  sh.helm.release.v1.nemo.v2  helm.sh/release.v1  1  1h  nemo  pending-upgrade  2
elsewhere        sh.helm.release.v1.web.v1   helm.sh/release.v1  1  1h  web   pending-install  1
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulumi: Pulumi) -> FakeKubectl:
    """The cluster of the stack's outputs."""
    made = FakeKubectl(tmp_path / "kubectl")
    monkeypatch.setattr(process, "program", lambda: str(made.path))
    pulumi.answers["stack output"] = (0, h.outputs().model_dump_json())
    return made


def test_a_release_that_is_half_done_stops_up_although_pulumi_knows_nothing_of_it(
    clone: Path, pulumi: Pulumi, cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the refresh that Pulumi asks for, an interrupted upgrade looks done to it."""
    cluster.write("releases.txt", HELM_RECORD)
    state(clone, "cloud")
    assert run_command("up", "--stack", "cloud", "--yes") == 1
    told = capsys.readouterr().err
    assert "  nemo-customizer/nemo: pending-upgrade (revision 2, revision 1 is deployed)\n" in told
    commands = [line.strip() for line in told.splitlines() if line.startswith(("  helm", "  nemostack"))]
    assert commands == [
        "helm rollback nemo 1 -n nemo-customizer",
        "nemostack toolchain run -- pulumi refresh -s cloud",
    ]
    assert "elsewhere" not in told
    assert "up" not in pulumi.verbs


def test_a_release_in_a_namespace_that_the_outputs_do_not_know_yet(
    clone: Path, pulumi: Pulumi, cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    """The `up` that was killed would have made the namespace, and the outputs are of the one before."""
    cluster.write("releases.txt", HELM_RECORD)
    state(clone, "cloud", "urn:pulumi:cloud::nemostack::kubernetes:helm.sh/v3:Release::elsewhere/web")
    assert run_command("up", "--stack", "cloud", "--yes") == 1
    told = capsys.readouterr().err
    assert "  helm uninstall web -n elsewhere\n" in told
    assert told.index("helm uninstall") < told.index("pulumi refresh")


@pytest.mark.parametrize(
    "command", [("doctor", "--stack", "mine", "--format", "json"), ("up", "--stack", "mine", "--yes")]
)
def test_a_first_up_that_was_killed_is_found_on_its_cluster(
    clone: Path,
    request: pytest.FixtureRequest,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There are no outputs yet: Pulumi writes them when a run ends."""
    request.getfixturevalue("cluster").write("releases.txt", HELM_RECORD)
    pulumi: Pulumi = request.getfixturevalue("pulumi")
    program = clone / "python"
    program.write_text("#!/bin/sh\necho '{}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))  # of the `nemostack outputs` that is asked
    pulumi.answers["stack output"] = (0, "{}")
    (clone / "Pulumi.mine.yaml").write_text(unfinished_state.SETTINGS)
    resources = [unfinished_state.connection(), unfinished_state.namespace("elsewhere")]
    file = state(clone, "mine")
    file.write_text(json.dumps({"checkpoint": {"latest": {"resources": resources}}}))
    assert run_command(*command) == (8 if command[0] == "doctor" else 1)
    captured = capsys.readouterr()
    assert "helm uninstall web -n elsewhere" in captured.out + captured.err
    assert "helm rollback nemo 1 -n nemo-customizer" in captured.out + captured.err


@pytest.mark.parametrize("trouble", ["no outputs", "no answer", "nothing half done"])
def test_up_goes_on_where_helm_has_nothing_to_say(
    clone: Path, pulumi: Pulumi, cluster: FakeKubectl, trouble: str
) -> None:
    state(clone, "cloud")
    cluster.write("releases.txt", HELM_RECORD.replace("pending-upgrade", "deployed"))
    if trouble == "no outputs":
        pulumi.answers["stack output"] = (0, "{}")
    if trouble == "no answer":
        cluster.fail("get", "The connection to the server localhost:8080 was refused")
    assert run_command("up", "--stack", "cloud", "--yes") == 0
    assert pulumi.verbs[-1] == "up"


def test_a_failed_up_names_the_doctor(
    clone: Path, pulumi: Pulumi, cluster: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    state(clone, "cloud")
    pulumi.answers["up --yes"] = (255, "")
    assert run_command("up", "--stack", "cloud", "--yes") == 255
    assert "`nemostack doctor --stack cloud`" in capsys.readouterr().err


# --- what is removed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_no_purge_elsewhere(clone: Path, pulumi: Pulumi, exists: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if exists:
        state(clone, "cloud")
    assert run_command("down", "--stack", "cloud", "--purge", "--yes") == 1
    assert "nemostack teardown --stack cloud" in capsys.readouterr().err
    assert pulumi.calls == []


def test_stack_whose_settings_are_gone_is_not_taken_for_a_local_one(clone: Path, pulumi: Pulumi) -> None:
    state(clone, "lost")
    assert run_command("down", "--stack", "lost") == 1
    assert pulumi.calls == []
    assert run_command("down", "--stack", "lost", "--yes") == 0
    assert pulumi.verbs == ["destroy"]


def test_purge_of_a_stack_that_is_not_there(clone: Path, pulumi: Pulumi) -> None:
    assert run_command("down", "--stack", "mine", "--purge") == 0
    assert pulumi.calls == []


@pytest.mark.parametrize("name", ["local", "mine"])
def test_folder_chosen_by_the_user_is_swept_and_kept(
    clone: Path, pulumi: Pulumi, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = "config:\n  nemostack:target: local\n  nemostack:local: {data_dir: elsewhere}\n"
    (clone / ".nemostack" / name).mkdir(parents=True)
    (clone / "Pulumi.local.yaml" if name == "local" else clone / ".nemostack" / name / "Pulumi.yaml").write_text(chosen)
    swept: list[Path] = []
    monkeypatch.setattr(leftovers, "end_leftovers", swept.append)
    state(clone, name)
    (clone / "elsewhere" / "data").mkdir(parents=True)
    assert run_command("down", "--stack", name, "--purge") == 0
    assert swept == [clone / "elsewhere"]
    assert (clone / "elsewhere" / "data").is_dir()
    assert f"kept {clone / 'elsewhere'}" in capsys.readouterr().err
    assert not (clone / ".nemostack" / name).exists()


def test_purge_removes_the_data(clone: Path, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "end_leftovers", lambda _folder: None)
    state(clone, "local")
    (clone / ".nemostack" / "local" / "data").mkdir(parents=True)
    assert run_command("down", "--purge") == 0
    assert pulumi.verbs == ["destroy", "stack"]
    assert not (clone / ".nemostack" / "local").exists()


@pytest.mark.parametrize("other", ["gke.json", "gke.json.gz"])
def test_purge_keeps_what_another_stack_needs(
    clone: Path, pulumi: Pulumi, other: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leftovers, "end_leftovers", lambda _folder: None)
    local = state(clone, "local")
    kept = local.with_name(other)
    kept.touch()
    passphrase = clone / ".nemostack" / "passphrase"
    passphrase.touch()
    pulumi.answers["stack rm"] = (0, "")
    local_gone = local.unlink
    monkeypatch.setattr(commands, "run", lambda command, *_a, **_k: (local_gone(missing_ok=True), pulumi(command))[1])
    assert run_command("down", "--purge") == 0
    assert "kept .nemostack, for other stacks: gke\n" in capsys.readouterr().err
    assert kept.exists()
    assert passphrase.exists()


def test_purge_of_the_last_stack_leaves_nothing(clone: Path, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / ".nemostack" / "pulumi").mkdir(parents=True)
    (clone / ".nemostack" / "passphrase").touch()
    assert run_command("down", "--purge") == 0
    assert not (clone / ".nemostack").exists()


def test_data_of_another_stack_are_kept(clone: Path, pulumi: Pulumi) -> None:
    data = clone / ".nemostack" / "test" / "data"
    data.mkdir(parents=True)
    assert run_command("down", "--purge") == 0
    assert data.exists()


def test_the_settings_of_the_local_stack_are_written_once(clone: Path, pulumi: Pulumi) -> None:
    file = clone / "Pulumi.local.yaml"
    file.unlink()
    assert run_command("up") == 0
    assert "base_port: 18080" in file.read_text()
    file.write_text("config:\n  nemostack:target: local # mine\n")
    assert run_command("up") == 0
    assert file.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("settings", "product"), [((), "microservices"), (("--config", "product=platform"), "platform")]
)
def test_a_new_stack_is_told_once_for_what_it_is(
    clone: Path, pulumi: Pulumi, capsys: pytest.CaptureFixture[str], settings: tuple[str, ...], product: str
) -> None:
    for new in (True, False):
        assert run_command("up", "--stack", "platform", *settings) == 0
        line = f"==> stack platform is new: target local, product {product}"
        assert (line in capsys.readouterr().err) == new


def test_a_setting_is_written_into_the_users_file_only_when_that_is_new(
    clone: Path, pulumi: Pulumi, capsys: pytest.CaptureFixture[str]
) -> None:
    file = clone / "Pulumi.local.yaml"
    file.unlink()
    chosen = ("--config", "local.base_model=acme/x")
    assert run_command("up", *chosen) == 0
    assert "nemostack:local.base_model=acme/x" in pulumi.calls[-1]
    file.write_text("config:\n  nemostack:target: local\n  nemostack:local: {base_model: acme/x}\n")
    assert run_command("up", *chosen) == 0
    assert "--config" not in pulumi.calls[-1]
    assert run_command("up", "--config", "local.base_model=acme/y") != 0
    assert "edit that file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("local", "settings", "fetched"),
    [
        ("", [], True),
        ("  nemostack:local: {base_model: {id: acme/x}}\n", [], True),
        ("  nemostack:local: {base_model: {id: acme/x, path: models/x}}\n", [], False),
        ("  nemostack:local: {base_model: acme/x}\n", [], False),
        ("", ["local.base_model.path=models/x"], False),
        ("", ["local.base_model=acme/x"], False),
        ("", ["local.base_port=20000"], True),
    ],
)
def test_the_default_base_model_is_fetched_for_those_that_name_no_other(
    clone: Path, pulumi: Pulumi, local: str, settings: list[str], *, fetched: bool
) -> None:
    (clone / "Pulumi.local.yaml").write_text(f"config:\n  nemostack:target: local\n{local}")
    stacks.up("test", settings, [], yes=False)
    assert pulumi.verbs
    assert (clone / "fetched").exists() == fetched


def test_a_cluster_needs_no_base_model_here(clone: Path, pulumi: Pulumi) -> None:
    stacks.up("cloud", [], [], yes=True)
    assert pulumi.verbs
    assert not (clone / "fetched").exists()


@pytest.mark.parametrize(
    ("file", "settings", "installed"),
    [
        ("", [], False),
        ("  nemostack:product: microservices\n", [], False),
        ("  nemostack:product: platform\n", [], True),
        ("", ["product=platform"], True),
        ("  nemostack:product: platform\n", ["product=microservices"], False),
        ("", ["product=platform", "product=microservices"], False),  # the last one counts
    ],
)
def test_the_environment_of_the_platform_is_installed_for_its_product_alone(
    clone: Path, file: str, settings: list[str], installed: bool
) -> None:
    (clone / "Pulumi.local.yaml").write_text(f"config:\n  nemostack:target: local\n{file}")
    stacks.provide(Stack(name="local", variables={}), settings)
    assert (clone / "platform").exists() == installed
