"""The whole program for every target and layout under Pulumi's mocks: what holds for everything that it makes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pulumi

from infra import images, names, versions
from infra.topology import resolve_topology
from nemostack.outputs import StackOutputs
from tests.unit.infra.cluster_support import (
    CLOUDS,
    SECRETS,
    Registrations,
    of_type,
)
from tests.unit.infra.whole_program import GENERATED, RELEASE, Made, releases


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts(inner, f"{path}.{index}")
    elif isinstance(value, str):
        yield path, value


def test_outputs_have_the_keys_of_the_local_stack(made: Made) -> None:
    _, exports, config = made
    plain = {key: value for key, value in exports.items() if key != "kubeconfig"}
    assert StackOutputs.model_validate(plain).target == config.target
    assert isinstance(exports["kubeconfig"], pulumi.Output)
    assert set(exports) == set(StackOutputs.model_fields)


def test_every_release_is_pinned_and_has_a_deadline(made: Made) -> None:
    pinned = {chart.name: chart.version for chart in versions.CHARTS}
    for release in releases(made[0]):
        chart = release.inputs["chart"].split("/")[-1]
        assert release.inputs["version"] == pinned[chart], release.name
        assert release.inputs["timeout"] >= 300, release.name


def test_namespaces_are_made_before_they_are_used(made: Made) -> None:
    found = made[0]
    there = {one.inputs["metadata"]["name"] for one in of_type(found, ":Namespace").values()}
    there |= {"kube-system", "default"}
    for one in found.values():
        namespace = one.inputs.get("metadata", {}).get("namespace") if isinstance(one.inputs, dict) else None
        if one.type == RELEASE:
            namespace = one.inputs["namespace"]
        assert namespace is None or namespace in there, one.name


def test_prometheus_comes_before_every_release_that_may_have_monitors(made: Made) -> None:
    there = {one.inputs["name"] for one in releases(made[0])}
    assert ("kube-prometheus-stack" in there) == (made[2].observability.prometheus == "install")
    if "kube-prometheus-stack" not in there:
        return
    first = {"kube-prometheus-stack", "cluster-autoscaler"}  # the latter belongs to the cluster
    assert {"nemo", "mlflow", "volcano"} <= there
    for one in releases(made[0]):
        if one.inputs["name"] not in first:
            assert "kube-prometheus-stack" in one.dependencies, one.name


def test_everything_goes_to_the_cluster_of_the_stack(made: Made) -> None:
    for one in made[0].values():
        if one.type.startswith("kubernetes:"):
            assert "$pulumi:providers:kubernetes::" in one.provider, one.name  # not the default provider


MEANT_EMPTY = ("podSelector", "selfSigned", "endpointSelector")
"""Fields in which an empty map has a meaning: every pod, an issuer that signs itself."""


def empty_values(value: Any, path: str = "") -> Iterator[str]:
    """Paths of maps and lists without content, and of nulls."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from empty_values(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from empty_values(inner, f"{path}.{index}")
    if value is None or (isinstance(value, dict | list) and not value):
        yield path


def test_no_object_has_a_field_without_content(made: Made) -> None:
    """The API server drops such a field, and the provider then shows it as a change in every preview."""
    for one in made[0].values():
        if one.type.startswith("kubernetes:") and one.type != RELEASE:
            paths = [path for path in empty_values(one.inputs) if path.rpartition(".")[2] not in MEANT_EMPTY]
            assert not paths, (one.type, one.name, paths)


def test_secrets_and_config_maps_change_in_place(made: Made) -> None:
    """Without these two settings the provider deletes a changed one and makes it anew."""
    providers = [one for one in made[0].values() if one.type == "pulumi:providers:kubernetes"]
    assert providers
    for provider in providers:
        # settings of a provider are JSON in a string
        assert provider.inputs["enableSecretMutable"] == "true", provider.name
        assert provider.inputs["enableConfigMapMutable"] == "true", provider.name


def test_secrets_are_secret(made: Made) -> None:
    found = made[0]
    secrets = of_type(found, "kubernetes:core/v1:Secret")
    assert secrets
    for name, secret in secrets.items():
        filled = {f"stringData.{key}" for key in secret.inputs.get("stringData", {})}
        filled |= {f"data.{key}" for key in secret.inputs.get("data", {})}
        covered = {path for path in filled if path in secret.secrets or path.split(".")[0] in secret.secrets}
        plain = {path.split(".", 1)[1] for path in filled - covered}
        assert plain <= {"username", "dbname", "host", "port"}, (name, plain)


def test_no_secret_stands_in_plain_text_anywhere(made: Made) -> None:
    forbidden = [*SECRETS.values(), GENERATED]
    for one in made[0].values():
        for path, text in texts(one.inputs):
            if any(secret in text for secret in forbidden):
                assert any(path == hidden or path.startswith(f"{hidden}.") for hidden in one.secrets), (one.name, path)


def known_services(found: Registrations) -> set[tuple[str, str]]:
    """Services that exist once the program has run, by namespace and name, derived from what it registers."""
    there = {
        (one.inputs["metadata"]["namespace"], one.inputs["metadata"]["name"])
        for one in of_type(found, "kubernetes:core/v1:Service").values()
    }
    for one in releases(found):
        namespace, values = one.inputs["namespace"], one.inputs.get("values", {})
        chart = one.inputs["chart"].split("/")[-1]
        if chart == versions.NEMO.name:
            there |= {
                (namespace, service.name)
                for service in names.MICROSERVICES
                if values.get(service.alias, {}).get("enabled")
            }
        elif chart == versions.NEMO_PLATFORM.name:
            there.add((namespace, "nemo-platform-api"))
            if values["platformConfig"].get("auth", {}).get("enabled"):
                there.add((namespace, "nemo-platform-envoy"))
        elif chart == versions.AI_GATEWAY.name:
            there.add((namespace, values["controller"]["fullnameOverride"]))
        elif chart == versions.SEAWEEDFS.name:
            there.add((namespace, f"{one.inputs['name']}-all-in-one"))
        else:
            there.add((namespace, values.get("fullnameOverride") or one.inputs["name"]))
    for (typ, _), one in found.items():
        meta = one.inputs.get("metadata", {}) if isinstance(one.inputs, dict) else {}
        if typ.endswith(":NIMService"):
            there.add((meta["namespace"], meta["name"]))
        if typ.endswith("postgresql.cnpg.io/v1:Cluster"):
            there |= {(meta["namespace"], f"{meta['name']}-{kind}") for kind in ("rw", "r", "ro")}
    return there


def test_every_url_in_the_cluster_leads_to_a_service_of_the_stack(made: Made) -> None:
    found, exports, _ = made
    there = known_services(found)
    pattern = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc\.cluster\.local")
    urls = {
        match.groups(): f"{one.name}: {path}"
        for one in found.values()
        for path, text in texts(one.inputs)
        for match in pattern.finditer(text)
    }
    urls |= {
        match.groups(): f"output {key}" for key, text in texts(exports_of(exports)) for match in pattern.finditer(text)
    }
    assert len(urls) >= 4
    missing = {where: user for where, user in urls.items() if (where[1], where[0]) not in there}
    assert not missing, there


def exports_of(exports: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in exports.items() if not isinstance(value, pulumi.Output)}


def test_outputs_name_services_of_the_stack(made: Made) -> None:
    found, exports, _ = made
    there = known_services(found)
    for address in exports["cluster"]["services"].values():
        namespace, rest = address.split("/")
        assert (namespace, rest.split(":")[0]) in there


def registered(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Models that a Job lets the platform deploy."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    return [one for one in json.loads(variables["REGISTRATIONS"]) if one["kind"] == "deployment"]


def test_pods_with_a_gpu_tolerate_every_gpu_taint(made: Made) -> None:
    found, _, config = made
    wanted = {"nvidia.com/gpu", *(taint.key for taint in config.gpu_taints)}
    asked = 0
    for one in found.values():
        spec: Any = one.inputs.get("values") if one.type == RELEASE else one.inputs.get("spec")
        chart = str(one.inputs.get("chart", "")).split("/")[-1]
        if one.type.endswith((":NIMService", ":NIMCache")) or chart == versions.NIM_LLM.name:
            assert wanted <= {toleration["key"] for toleration in spec["tolerations"]}, one.name
            asked += 1
        elif chart == versions.NEMO.name and spec.get("customizer", {}).get("enabled"):
            tolerations = spec["customizer"]["customizerConfig"]["tolerations"]
            assert wanted <= {toleration["key"] for toleration in tolerations}
            asked += 1
        elif chart == versions.NEMO_PLATFORM.name:
            for executor in spec["platformConfig"]["jobs"]["executors"]:
                assert wanted <= {toleration["key"] for toleration in executor["config"]["tolerations"]}
            asked += 1
        elif one.type == "kubernetes:batch/v1:Job":
            for model in registered(one.inputs):
                tolerations = model["config"]["executor_config"]["k8s_nim_operator_config"]["tolerations"]
                assert wanted <= {toleration["key"] for toleration in tolerations}
                asked += 1
    assert asked >= 2


def test_gpu_pools_are_what_the_settings_say(made: Made) -> None:
    found, _, config = made
    tokens = {"gke": "gcp:container/nodePool:NodePool", "eks": "aws:eks/nodeGroup:NodeGroup", "aks": ":AgentPool"}
    if config.target not in tokens:
        return
    pools = of_type(found, tokens[config.target])
    wanted = {pool["name"] for pool in CLOUDS[config.target]["gpu_pools"]}
    assert all(any(name in made_name for made_name in pools) for name in wanted), list(pools)


def test_nothing_of_it_is_large(made: Made) -> None:
    """Each resource names few others to wait for: a stack of hundreds of NIMs stays a small state."""
    assert max(len(one.options.dependencies) for one in made[0].values()) < 120
    assert len(json.dumps({str(key): one.inputs for key, one in made[0].items()}, default=str)) < 3_000_000


def test_the_list_of_images_knows_every_release(made: Made) -> None:
    found, _, config = made
    by_program = {(one.inputs["namespace"], one.inputs["chart"].split("/")[-1]) for one in releases(found)}
    assert {
        (use.namespace, use.chart.name) for use in images.chart_uses(config, resolve_topology(config))
    } == by_program
