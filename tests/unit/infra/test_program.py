"""The whole program for the local target under Pulumi's mocks: what it registers, under whom, after what."""

import importlib
import json
import os
import subprocess
import sys
from typing import Any

import pulumi
import pytest
from pulumi.runtime.mocks import MockMonitor

from nemostack.clone import ROOT
from nemostack.outputs import StackOutputs

Program = tuple[dict[tuple[str, str], Any], dict[str, Any]]  # registrations, exports
SERVICE = "pulumi-python:dynamic/nemostack:LocalService"
SUPERVISOR = "pulumi-python:dynamic/nemostack:LocalSupervisor"


class Inputs(pulumi.runtime.Mocks):
    """Every resource gets what it asked for."""

    def new_resource(self, args: Any) -> Any:
        return args.name, args.inputs

    def call(self, args: Any) -> Any:
        raise AssertionError(f"the program calls nothing, yet called {args.token}")


class Recorder(MockMonitor):
    """Remembers each registration as the engine would see it."""

    def __init__(self) -> None:
        super().__init__(Inputs())
        self.requests: dict[tuple[str, str], Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        self.requests[request.type, request.name] = request
        return super().RegisterResource(request)


def run_program(config: dict[str, str]) -> Program:
    """Run the program afresh; what it registered and what it exported."""
    for name in [name for name in sys.modules if name == "infra.__main__"]:
        del sys.modules[name]
    recorder = Recorder()
    exports: dict[str, Any] = {}
    pulumi.runtime.set_mocks(recorder.mocks, project="nemostack", stack="unit", preview=False, monitor=recorder)
    pulumi.runtime.set_all_config(config)
    original = pulumi.export
    pulumi.export = exports.__setitem__  # type: ignore[assignment]

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def program() -> None:
        importlib.import_module("infra.__main__")

    try:
        program()
    finally:
        pulumi.export = original
    return recorder.requests, exports


@pytest.fixture(scope="module")
def local() -> Any:
    return run_program({"nemostack:target": "local", "nemostack:local": json.dumps({"base_port": 31000})})


def test_a_local_stack_does_not_load_the_sdk_of_kubernetes() -> None:
    program = (
        "import sys; from tests.unit.infra.test_program import run_program; run_program({'nemostack:target': 'local'});"
        "print([name for name in sys.modules if name.startswith('pulumi_kubernetes')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("environment", "sends"), [({}, False), ({"NEMOSTACK_PULUMI_DEBUG": "1"}, True)])
def test_debug_messages_are_sent_only_when_asked_for(environment: dict[str, str], sends: bool) -> None:
    program = (
        "from pulumi.runtime import mocks; from pulumi.runtime.proto import engine_pb2; severities = []\n"
        "mocks.MockEngine.Log = lambda self, request: severities.append(request.severity)\n"
        "from tests.unit.infra.test_program import run_program; run_program({'nemostack:target': 'local'})\n"
        "print(severities.count(engine_pb2.DEBUG))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True)
    resources = 2 + 2 * 8  # the stack's component and the supervisor, a component and a process for each service
    assert (int(done.stdout) >= resources) == sends  # the root's messages are sent before the program starts


def test_inventory(local: Program) -> None:
    registered, _ = local
    names = {"gateway", "data_store", "nim", "mlflow", "judge", "entity_store", "customizer", "evaluator"}
    assert {name for typ, name in registered if typ == SERVICE} == names
    assert {name for typ, name in registered if typ == "nemostack:local:Service"} == names
    assert {name for typ, name in registered if typ == SUPERVISOR} == {"supervisor"}
    assert ("nemostack:local:Stack", "unit") in registered
    others = {typ for typ, _ in registered} - {SERVICE, SUPERVISOR, "nemostack:local:Service", "nemostack:local:Stack"}
    assert others <= {"pulumi:pulumi:Stack"}


def test_parents(local: Program) -> None:
    registered, _ = local
    for (typ, name), request in registered.items():
        if typ == SERVICE:
            assert request.parent.split("$")[-1] == f"nemostack:local:Service::{name}"
        elif typ in ("nemostack:local:Service", SUPERVISOR):
            assert request.parent.endswith("nemostack:local:Stack::unit")


def test_dependencies(local: Program) -> Any:
    registered, _ = local

    def needs(name: str) -> set[str]:
        return {urn.split("::")[-1] for urn in registered[SERVICE, name].dependencies}

    assert needs("data_store") == {"supervisor"}
    assert needs("nim") == {"supervisor", "data_store", "entity_store"}
    assert needs("evaluator") == {"supervisor", "data_store", "entity_store", "judge"}
    assert needs("gateway") == {"supervisor", "customizer", "entity_store", "evaluator"}


def test_exports_are_the_contract(local: Program) -> None:
    _, exports = local
    assert StackOutputs.model_validate(exports).nim_url == "http://127.0.0.1:31002"
    assert set(exports) == set(StackOutputs.model_fields)


def test_supervisor_knows_all_ports(local: Program) -> None:
    registered, _ = local
    assert sorted(registered[SUPERVISOR, "supervisor"].object["ports"].values()) == list(range(31000, 31008))


def test_inputs_carry_no_numbers_that_protobuf_would_change(local: Program) -> None:
    registered, _ = local
    settings = registered[SERVICE, "nim"].object["settings"]
    assert json.loads(settings)["port"] == 31002
    assert isinstance(settings, str)


def test_wrong_config_is_one_clear_error() -> None:
    with pytest.raises(pulumi.RunError, match=r"Pulumi\.unit\.yaml:\nnemostack:local\.base_prot: unknown key"):
        run_program({"nemostack:target": "local", "nemostack:local": json.dumps({"base_prot": 31000})})
