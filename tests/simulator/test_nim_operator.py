"""The simulated NIM operator: what it waits for, which profiles a cache takes, and what cannot be changed."""

from functools import partial
from typing import Any

import pytest

from simulator.api import ApiError, Object, wait
from simulator.control_plane import ControlPlane
from simulator.operators.nim import NIM_CACHES, NIM_SERVICES, PROFILES, select_profiles
from simulator.operators.rounds import at
from tests.simulator.support import TOLERATES_GPU, admission, claims, create_resource, phases, refusal, state

pytestmark = pytest.mark.slow

RESOURCES = {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
NGC: Object = {"modelPuller": "none.invalid/nim:1.8.3", "authSecret": "ngc"}
NIM_SERVICE = {
    "image": {"repository": "none.invalid/nim", "tag": "1.8.3"},
    "authSecret": "ngc",
    "storage": {"nimCache": {"name": "n"}},
    "resources": RESOURCES,
    "tolerations": TOLERATES_GPU,
    "replicas": 2,
}


def test_nim_needs_its_cache_and_its_gpus(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache", "NIMService")
    service = create_resource(control_plane, at(NIM_SERVICES, namespace), "NIMService", "n", NIM_SERVICE)
    wait("it waits for its cache", lambda: state(control_plane, service), lambda seen: seen == "Pending")
    cache_spec = {
        "source": {"ngc": {**NGC, "model": {"engine": "vllm", "tensorParallelism": "1"}}},
        "storage": {"pvc": {"create": True, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
    }
    cache = create_resource(control_plane, at(NIM_CACHES, namespace), "NIMCache", "n", cache_spec)
    wait("it waits for a node", lambda: state(control_plane, cache), lambda seen: seen == "InProgress")
    control_plane.add_nodes(1)
    wait("it is filled", lambda: state(control_plane, cache), lambda seen: seen == "Ready")
    assert claims(control_plane.api, namespace) == {"n-pvc": "Bound"}
    control_plane.add_gpu_nodes(1, gpus=3)
    wait(
        "one of two replicas runs",
        lambda: phases(control_plane.api, namespace),
        lambda seen: seen == ["Pending", "Running", "Succeeded"],
    )
    assert state(control_plane, service) == "NotReady"
    control_plane.add_gpu_nodes(1, gpus=2)
    wait("it is ready", lambda: state(control_plane, service), lambda seen: seen == "Ready")
    assert control_plane.api.exists(f"/api/v1/namespaces/{namespace}/services/n")


def test_nim_follows_its_spec_and_its_owner(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache", "NIMService")
    control_plane.add_gpu_nodes(1, gpus=8)  # an update needs room for one replica more
    spec: Object = NIM_SERVICE | {"storage": {}, "replicas": 1}
    service = create_resource(control_plane, at(NIM_SERVICES, namespace), "NIMService", "n", spec)
    wait("it is ready", lambda: state(control_plane, service), lambda seen: seen == "Ready")
    control_plane.api.patch(service, {"spec": {"replicas": 2, "image": {"tag": "1.8.4"}}})
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/n"
    wait(
        "both run the new image",
        lambda: [
            (pod["spec"]["containers"][0]["image"], pod["status"]["phase"])
            for pod in control_plane.api.items(f"/api/v1/namespaces/{namespace}/pods")
        ],
        lambda seen: seen == [("none.invalid/nim:1.8.4", "Running")] * 2,
    )
    control_plane.api.delete(service)
    # the garbage collector looks for new kinds of owners every 30 s
    wait("all goes with it", lambda: control_plane.api.exists(deployment), lambda there: not there)


def cache_of(size: str = "50Gi", **model: Any) -> Object:
    """Return the spec of a NIMCache."""
    return {"source": {"ngc": NGC | {"model": model}}, "storage": {"pvc": {"create": True, "size": size}}}


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ({}, 10),
        ({"lora": True}, 10),
        ({"lora": True, "tensorParallelism": "1"}, 5),
        ({"lora": True, "tensorParallelism": "1", "engine": "vllm"}, 1),
        ({"lora": True, "tensorParallelism": "2", "gpus": [{"product": "h100"}]}, 1),
        ({"engine": "tensorrt_llm"}, 8),
        ({"profiles": ["vllm-any-tp1-lora"]}, 1),
        ({"profiles": ["all"]}, 20),
    ],
)
def test_a_cache_takes_every_profile_that_matches_what_is_said(model, count):
    """Counts by hand: 4 GPUs and one generic engine, 1 or 2 GPUs, with or without LoRA."""
    assert len(PROFILES) == 20
    assert len(select_profiles(model, PROFILES)) == count


def test_a_cache_whose_profiles_do_not_fit_fails(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache")
    control_plane.add_nodes(1)
    path = create_resource(control_plane, at(NIM_CACHES, namespace), "NIMCache", "n", cache_of("20Gi", lora=True))
    wait("it is full", lambda: state(control_plane, path), lambda seen: seen == "Failed")


def test_the_image_of_a_cache_cannot_be_changed(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache")
    path = create_resource(control_plane, at(NIM_CACHES, namespace), "NIMCache", "n", cache_of())
    with pytest.raises(ApiError, match="modelPuller is an immutable field"):
        control_plane.api.patch(path, {"spec": {"source": {"ngc": {"modelPuller": "none.invalid/nim:1.8.4"}}}})


@pytest.fixture
def webhook(control_plane: ControlPlane, charts):
    """What stands in for the operator's webhook, as the chart renders it."""
    with admission(control_plane, charts, "k8s-nim-operator", "operator.admissionController.enabled=true"):
        yield


@pytest.mark.usefixtures("webhook")
def test_the_webhook_refuses_what_the_original_refuses(
    control_plane: ControlPlane, namespace: str, define: Any
) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache")
    collection = at(NIM_CACHES, namespace)
    path = create_resource(control_plane, collection, "NIMCache", "n", cache_of())
    change = partial(refusal, control_plane, "PATCH", path, {"spec": {"storage": {"pvc": {"size": "60Gi"}}}})
    wait("the policy is in force", change, lambda text: "is immutable once the object is created" in text)

    def create(spec: Object) -> str:
        body = {"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache", "metadata": {"name": "m"}, "spec": spec}
        return refusal(control_plane, "POST", collection + "?dryRun=All", body)

    assert create(cache_of(profiles=["one"])) == ""
    assert "must be empty if profiles are provided" in create(cache_of(profiles=["one"], lora=True))
    assert "must be provided when" in create(cache_of() | {"storage": {"pvc": {"create": False}}})
    assert "authSecret: Required value" in create(cache_of() | {"source": {"ngc": NGC | {"authSecret": ""}}})


def service_of(**changes: Any) -> Object:
    """Return the spec of a NIMService, which needs nothing but what is changed."""
    return {key: value for key, value in (NIM_SERVICE | changes).items() if value is not None}


HPA = {"minReplicas": 1, "maxReplicas": 3}
# with the original's definition its own rules may be the first to refuse, in other words than the webhook's
REFUSED_SERVICES: list[tuple[Object, str]] = [
    ({"authSecret": ""}, "spec.authSecret: Required value"),
    ({"storage": {}}, "exactly one of nimCache, pvc, emptyDir or hostPath must be defined"),
    ({"storage": {"nimCache": {"name": "n"}, "hostPath": "/models"}}, "exactly one of nimCache, pvc"),
    ({"image": {"repository": "none.invalid/nim", "tag": ""}}, "repository and tag are required"),
    ({"scale": {"enabled": True, "hpa": HPA}}, "spec.replicas"),
    ({"scale": {"enabled": True}, "replicas": None}, "spec.scale.hpa: Required value"),
    ({"metrics": {"enabled": True}}, "spec.metrics.serviceMonitor: Required value"),
]


@pytest.mark.usefixtures("webhook")
def test_the_webhook_refuses_services_as_the_original_does(
    control_plane: ControlPlane, namespace: str, define: Any
) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMService")
    collection = at(NIM_SERVICES, namespace)

    def create(spec: Object) -> str:
        body = {"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": {"name": "m"}, "spec": spec}
        return refusal(control_plane, "POST", collection + "?dryRun=All", body)

    wait("the policy is in force", lambda: create(service_of(authSecret="")), lambda text: "authSecret" in text)
    assert create(service_of()) == ""
    assert create(service_of(scale={"enabled": True, "hpa": HPA}, replicas=None)) == ""
    for changes, says in REFUSED_SERVICES:
        assert says in create(service_of(**changes)), changes

    volume = {"pvc": {"create": True, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}}
    path = create_resource(control_plane, collection, "NIMService", "n", service_of(storage=volume))
    change = {"spec": {"storage": {"pvc": {"size": "60Gi"}}}}
    assert "spec.storage.pvc: Forbidden: is immutable once" in refusal(control_plane, "PATCH", path, change)
    assert refusal(control_plane, "PATCH", path, {"spec": {"image": {"tag": "1.8.4"}}}) == "", "the image may change"
