"""Settings of a stack on Kubernetes, and components run under Pulumi's mocks, for the tests of infra/.

`config_for` goes through the loader, so a test cannot use settings that a user would not get past it. `run` makes
what a function makes and hands back each registration as the engine would see it. Nothing is deployed.
"""

import json
import unittest.mock
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi.runtime import mocks

from infra import config
from infra.clusters.cluster import Cluster
from infra.config import ClusterStackConfig
from infra.config.platform import Charts
from infra.platform.helm import ChartStore
from infra.platform.namespaces import Namespaces, NamespacesArgs
from infra.topology import resolve_topology
from nemostack.clone import ROOT

SECRETS = {"ngc_api_key": "nvapi-of-the-test", "hf_token": "hf_of-the-test"}
L4 = {"name": "l4", "gpu": "L4", "count": 1, "max": 8}
A100 = {"name": "train", "gpu": "A100-80GB", "count": 1}
CLOUDS: dict[str, dict[str, Any]] = {
    "gke": {"project": "project-1", "location": "us-central1-a", "gpu_pools": [L4, A100]},
    "eks": {
        "region": "us-east-1",
        "gpu_pools": [L4, {"name": "train", "gpu": "A100-80GB", "count": 8}],
    },
    "aks": {
        "location": "eastus2",
        "resource_group": "group-1",
        "gpu_pools": [{"name": "a10", "gpu": "A10", "count": 1, "max": 8}, A100],
    },
}
TARGETS = ("gke", "eks", "aks", "existing", "minikube")


def config_for(target: str, *, secrets: Mapping[str, str] = SECRETS, **sections: Any) -> ClusterStackConfig:
    """Load the settings of a target: valid ones by default, `sections` replace or add whole sections."""
    defaults: dict[str, Any] = {target: CLOUDS[target]} if target in CLOUDS else {}
    if target == "existing":
        defaults["storage"] = {"rwx_class_name": "shared"}
    settings = {"target": target, **secrets, **defaults, **sections}
    raw = {
        f"nemostack:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()
    }
    loaded = config.load(raw)
    assert isinstance(loaded, ClusterStackConfig)
    return loaded


def secret_outputs(values: Mapping[str, str] = SECRETS) -> dict[str, pulumi.Output[str]]:
    """What `infra.config.secrets.secrets()` would return."""
    return {key: pulumi.Output.secret(value) for key, value in values.items()}


def chart_store(settings: Charts | None = None) -> ChartStore:
    """Make a store of charts with the pinned repositories."""
    return ChartStore(settings or Charts(), ROOT, secret_outputs()["ngc_api_key"])


def cluster(**changes: Any) -> Cluster:
    """Make a cluster with a provider, for use inside `run`."""
    facts: dict[str, Any] = {
        "provider": kubernetes.Provider("cluster", kubeconfig="{}"),
        "kubeconfig": pulumi.Output.secret("{}"),
        "storage_class": "fast",
        "rwx_storage_class": "shared",
    }
    return Cluster(**(facts | changes))


def namespaces(settings: ClusterStackConfig, opts: pulumi.ResourceOptions) -> dict[str, pulumi.Resource]:
    """Make the namespaces of a stack, for use inside `run`."""
    return Namespaces("namespaces", namespaces_args(settings, secret_outputs()), opts).of


def namespaces_args(settings: ClusterStackConfig, secrets: Mapping[str, pulumi.Output[str]]) -> NamespacesArgs:
    """Return what the namespaces of a stack are made from."""
    return NamespacesArgs(
        topology=resolve_topology(settings),
        security=settings.security,
        nims=settings.nims,
        adopted=settings.namespaces.adopt,
        credentials=settings.credentials,
        secrets=secrets,
    )


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A resource as the engine was asked for it."""

    type: str
    name: str
    inputs: dict[str, Any]
    """Plain values: secrets are unwrapped, their paths are in `secrets`."""
    secrets: frozenset[str]
    """Paths of secret inputs, e.g. `stringData.NGC_API_KEY`; a secret list or mapping counts as one."""
    parent: str
    """Name of the parent, empty for the stack."""
    dependencies: frozenset[str]
    """Names of the resources it waits for."""
    provider: str
    options: Any
    """The request itself, for everything else (aliases, timeouts, protect ...)."""


Registrations = dict[tuple[str, str], Registration]


class Outputs(mocks.Mocks):
    """Every resource gets what it asked for, and `outputs` of its type on top; calls answer from `calls`."""

    def __init__(self, outputs: Mapping[str, dict[str, Any]], calls: Mapping[str, Any]) -> None:
        self.outputs, self.calls = outputs, calls

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Return id and state of a resource."""
        return f"{args.name}-id", args.inputs | self.outputs.get(args.typ, {})

    def call(self, args: mocks.MockCallArgs) -> Any:
        """Answer a call to a provider; one that no test expects is an error."""
        assert args.token in self.calls, f"unexpected call of {args.token}: {args.args}"
        answer = self.calls[args.token]
        return answer(args.args) if callable(answer) else answer


class Recorder(mocks.MockMonitor):
    """Remembers each registration."""

    def __init__(self, answers: Outputs) -> None:
        super().__init__(answers)
        self.found: Registrations = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        """Take a registration down before the mocks answer it."""
        secrets: set[str] = set()
        inputs = plain(request.object, "", secrets)
        key = request.type, request.name
        assert key not in self.found, f"registered twice, which the engine refuses: {key}"
        self.found[key] = Registration(
            type=request.type,
            name=request.name,
            inputs=inputs,
            secrets=frozenset(secrets),
            parent="" if "::pulumi:pulumi:Stack::" in request.parent else request.parent.split("::")[-1],
            dependencies=frozenset(urn.split("::")[-1] for urn in request.dependencies),
            provider=request.provider,
            options=request,
        )
        return super().RegisterResource(request)

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        """Take a read down like a registration whose one input is the id."""
        self.found[request.type, request.name] = Registration(
            type=request.type,
            name=request.name,
            inputs={"id": request.id},
            secrets=frozenset(),
            parent=request.parent.split("::")[-1],
            dependencies=frozenset(urn.split("::")[-1] for urn in request.dependencies),
            provider=request.provider,
            options=request,
        )
        return super().ReadResource(request)


SIGNATURE = "4dabf18193072939515e22adb298388d"  # marks special values on Pulumi's wire
OF_SECRETS = "1b47061264138c4ac30d75fd1eb44270"


def plain(value: Any, path: str, secrets: set[str]) -> Any:
    """Unwrap protobuf's Struct and secrets, noting their paths; whole numbers become int again."""
    if hasattr(value, "keys"):
        if SIGNATURE in value and value[SIGNATURE] == OF_SECRETS:
            secrets.add(path)
            return plain(value["value"], path, secrets)
        return {key: plain(inner, f"{path}.{key}" if path else key, secrets) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner, f"{path}.{index}", secrets) for index, inner in enumerate(value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def run(
    make: Callable[[], Any],
    *,
    outputs: Mapping[str, dict[str, Any]] | None = None,
    calls: Mapping[str, Any] | None = None,
    preview: bool = False,
) -> Registrations:
    """Run `make` as a program and return what it registered, by type and name.

    `outputs`: type token -> outputs that its provider computes. `calls`: token of a function -> answer, or function of
    its arguments. A returned Output is awaited; keep what else you need in a variable outside.
    """
    recorder = Recorder(Outputs(outputs or {}, calls or {}))
    pulumi.runtime.set_mocks(recorder.mocks, project="nemostack", stack="unit", preview=preview, monitor=recorder)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def program() -> Any:
        made = make()
        return made if isinstance(made, pulumi.Output) else None

    # no mock is an API server that could be asked
    with unittest.mock.patch("infra.clusters.access.is_administrator", return_value=None):
        program()
    return {key: found for key, found in recorder.found.items() if found.type != "pulumi:pulumi:Stack"}


def of_type(registrations: Registrations, kind: str) -> dict[str, Registration]:
    """Registrations whose type ends in `kind`, e.g. `:Secret`, by name."""
    return {name: found for (typ, name), found in registrations.items() if typ.endswith(kind)}


def every(registrations: Registrations, kind: str) -> list[Registration]:
    """List the registrations whose type ends in `kind`; fails where none is: loops over none prove nothing."""
    found = list(of_type(registrations, kind).values())
    assert found, f"nothing of type {kind} was registered"
    return found


def comes_after(registrations: Registrations, one: Registration) -> set[tuple[str, str]]:
    """All that must be there before `one`, by type and name: what it and its provider wait for, and so on."""
    found: set[tuple[str, str]] = set()
    left = [one]
    while left:
        options = left.pop().options
        urns = {*options.dependencies, options.provider.rpartition("::")[0]} - {""}
        keys = {(urn.split("::")[2].rpartition("$")[2], urn.split("::")[3]) for urn in urns} - found
        found |= keys
        left += [registrations[key] for key in keys]
    return found


LEAVES: dict[str, Any] = {
    "string": str,
    "number": int | float | str,
    "bool": bool,
    "list": list,
    "map": dict,
    "any": object,
}


def unknown(values: Any, shape: Any, path: str) -> Iterator[str]:
    """Values of a chart that its shape (simulator/charts/shapes) does not know, or knows as another type."""
    if isinstance(shape, str):
        if not isinstance(values, LEAVES[shape]):
            yield f"{path}: {values!r} is no {shape}"
        return
    if not isinstance(values, dict):
        yield f"{path}: {values!r} is no map"
        return
    for key, value in values.items():
        if key in shape:
            yield from unknown(value, shape[key], f"{path}.{key}")
        else:
            yield f"{path}.{key}: unknown"
