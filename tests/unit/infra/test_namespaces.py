"""Namespaces, their Pod Security, and the Secrets of credentials in each."""

import base64
import json
import re
from typing import Any

import pulumi
import pytest

from infra.platform.credentials import CredentialNames, credential_names, docker_config, required_secrets
from infra.platform.namespaces import Namespaces
from infra.topology import resolve_topology
from nemostack.errors import SettingsError
from tests.unit.infra.cluster_support import (
    SECRETS,
    Registrations,
    cluster,
    config_for,
    namespaces_args,
    of_type,
    run,
    secret_outputs,
)
from tests.unit.infra.from_settings import pod_security

GUIDE = {"nemo-datastore", "nemo-entity-store", "nemo-evaluator", "nemo-customizer", "llama3-2-3b-instruct", "mlflow"}
PREFIX = "pod-security.kubernetes.io"


def namespaces(secrets: Any = SECRETS, **sections: Any) -> Registrations:
    config = config_for("gke", secrets=secrets, **sections)

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        Namespaces("namespaces", namespaces_args(config, secret_outputs(secrets)), opts)

    return run(make)


def test_the_guides_namespaces_are_there_with_their_labels() -> None:
    found = of_type(namespaces(), ":Namespace")
    assert set(found) >= GUIDE
    for name in GUIDE:
        labels = found[name].inputs["metadata"]["labels"]
        modes = [labels[f"{PREFIX}/{mode}"] for mode in ("enforce", "warn", "audit")]
        assert modes == ["baseline", "restricted", "restricted"]
    assert found["volcano-system"].inputs["metadata"]["labels"][f"{PREFIX}/enforce"] == "privileged"


def test_namespaces_that_exist_are_read_labelled_and_not_made() -> None:
    found = namespaces(namespaces={"adopt": ["nemo-evaluator", "volcano-system"]})
    made, patched = (of_type(found, f":{kind}") for kind in ("Namespace", "NamespacePatch"))
    assert not made.keys() & {"nemo-evaluator", "volcano-system"}
    assert made["namespaces.adopt.nemo-evaluator"].inputs == {"id": "nemo-evaluator"}
    assert made["nemo-datastore"].inputs["metadata"]["name"] == "nemo-datastore"
    assert patched.keys() == {"nemo-evaluator", "volcano-system"}
    for name, level in (("nemo-evaluator", "baseline"), ("volcano-system", "privileged")):
        assert patched[name].inputs["metadata"]["name"] == name
        assert patched[name].inputs["metadata"]["labels"][f"{PREFIX}/enforce"] == level
        assert patched[name].dependencies == {f"namespaces.adopt.{name}"}, "a patch alone would make it"
    requests = found["kubernetes:core/v1:LimitRange", "nemo-evaluator/requests"]
    assert "nemo-evaluator" in requests.dependencies


@pytest.mark.parametrize(
    ("adopted", "problem"),
    [
        (["nemo-datastor"], "namespaces.adopt.0: 'nemo-datastor' is not a namespace of this stack: one of cert-"),
        (["mlflow", "mlflow"], "namespaces.adopt: 'mlflow' is listed twice"),
    ],
)
def test_namespaces_to_adopt_are_those_of_the_stack(adopted: list[str], problem: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        config_for("gke", namespaces={"adopt": adopted})


def test_single_layout_has_one_namespace_for_services_and_nims() -> None:
    assert set(of_type(namespaces(layout="single"), ":Namespace")) & (GUIDE | {"nemo"}) == {"nemo", "mlflow"}


def test_charts_that_cannot_be_restricted_stay_at_baseline() -> None:
    levels = pod_security(config_for("gke", security={"pod_security": "restricted"}))
    assert {name for name in GUIDE if levels[name] == "baseline"} == GUIDE - {"llama3-2-3b-instruct", "mlflow"}
    assert levels["llama3-2-3b-instruct"] == levels["mlflow"] == "restricted"


def test_nims_of_the_operator_stay_at_baseline() -> None:
    nim = {"model": "meta/llama-3.2-3b-instruct", "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct", "tag": "1.8.3"}
    nims = [nim | {"name": "by-chart"}, nim | {"name": "by-operator", "deploy": "operator"}]
    sections: dict[str, Any] = {"nims": nims, "prerequisites": {"nim_operator": "install"}}
    levels = pod_security(config_for("gke", security={"pod_security": "restricted"}, **sections))
    assert (levels["by-chart"], levels["by-operator"]) == ("restricted", "baseline")
    assert pod_security(config_for("gke", security={"pod_security": "privileged"}, **sections))["by-operator"] == (
        "privileged"
    )


def test_every_namespace_that_pulls_from_nvidia_has_the_pull_secret() -> None:
    made = namespaces(services={"guardrails": True})
    pull = {
        found.inputs["metadata"]["namespace"]
        for found in of_type(made, ":Secret").values()
        if found.inputs["metadata"]["name"] == "nvcrimagepullsecret"
    }
    assert pull == GUIDE - {"mlflow"} | {"nemo-guardrails"}


def test_the_login_of_the_registry() -> None:
    found = of_type(namespaces(), ":Secret")["nemo-customizer/nvcrimagepullsecret"]
    assert found.inputs["type"] == "kubernetes.io/dockerconfigjson"
    login = json.loads(found.inputs["stringData"][".dockerconfigjson"])["auths"]["nvcr.io"]
    assert login["username"] == "$oauthtoken"
    assert base64.b64decode(login["auth"]).decode() == "$oauthtoken:nvapi-of-the-test"
    assert login["password"] == "nvapi-of-the-test"


def test_docker_config_survives_any_key() -> None:
    assert json.loads(docker_config('a"b\\c'))["auths"]["nvcr.io"]["password"] == 'a"b\\c'


def test_data_of_secrets_is_secret() -> None:
    secrets = of_type(namespaces(), ":Secret")
    assert len(secrets) == 5 * 2 + 3
    assert all(found.secrets for found in secrets.values())


def test_hugging_face_token_is_where_models_and_data_are_downloaded() -> None:
    made = of_type(namespaces(), ":Secret")
    assert {name.split("/")[0] for name in made if name.endswith("/hf-token")} == {
        "nemo-customizer",
        "nemo-evaluator",
        "llama3-2-3b-instruct",
    }
    without = of_type(namespaces({"ngc_api_key": "key"}), ":Secret")
    assert not [name for name in without if "hf-token" in name]


def test_secrets_that_the_user_brings_are_not_made() -> None:
    usual = {"ngc_secret": "ngc-api", "image_pull_secret": "nvcrimagepullsecret"}  # there already, by these very names
    made = of_type(namespaces(credentials=usual), ":Secret")
    assert {found.inputs["metadata"]["name"] for found in made.values()} == {"hf-token"}
    said = {"ngc_secret": "ngc-api", "image_pull_secret": "our-pull"}
    config = config_for("gke", credentials=said)
    addresses = resolve_topology(config).addresses
    assert credential_names(config.credentials, {"ngc_api_key"}) == CredentialNames(
        ngc="ngc-api", pull="our-pull", hf=None
    )
    assert required_secrets(addresses, credential_names(config.credentials, ()))["nemo-datastore"] == (
        "our-pull",
        "ngc-api",
    )


@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_containers_that_request_nothing_get_a_default(layout: str) -> None:
    made = namespaces(layout=layout)
    ranges = of_type(made, ":LimitRange").values()
    spaces = {found.inputs["metadata"]["namespace"] for found in ranges}
    assert spaces == (GUIDE if layout == "per-service" else {"nemo", "mlflow"})
    for found in ranges:
        assert found.inputs["spec"]["limits"] == [
            {"type": "Container", "defaultRequest": {"cpu": "50m", "memory": "128Mi"}}
        ]
        assert found.dependencies == {found.inputs["metadata"]["namespace"]}
