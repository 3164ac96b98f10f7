"""A change of a NIM that the operator runs, from settings to pods, under the rules of what must stay as it is.

The NIMCache's definition and the operator's webhook refuse every change of a cache, so the program makes another one:
the new one is filled, the service switched to it, the old one deleted with its volume. NVIDIA's definitions are not
kept here (`NEMOSTACK_NIM_CRDS`); the rules of the webhook come with the stand-in chart.
"""

import pytest

from infra.names import RELEASE
from simulator.api import wait
from simulator.charts import generate
from tests.cluster.support import LLAMA, NIM, pods

GROUP = f"/apis/apps.nvidia.com/v1alpha1/namespaces/{RELEASE}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not generate.nim_definitions(), reason="NEMOSTACK_NIM_CRDS names no folder with definitions of the NIM operator"
    ),
]


def test_another_image_of_a_nim_is_carried_through(make, control_plane):
    nim = {**NIM, "deploy": "operator"}
    stack = make(
        layout="single",
        prerequisites={"nim_operator": "install", "volcano": "skip"},
        services={"customizer": False, "evaluator": False},
        mlflow={"mode": "skip"},
        nims=[nim],
    )

    def caches():
        return {it["spec"]["source"]["ngc"]["modelPuller"]: it for it in control_plane.api.items(f"{GROUP}/nimcaches")}

    stack.up()
    (old,) = caches().values()
    stack.configure(nims=[{**nim, "tag": "1.8.4"}])
    assert stack.preview().touched == {
        "create-replacement": {f"{RELEASE}/{LLAMA}-cache"},
        "replace": {f"{RELEASE}/{LLAMA}-cache"},
        "delete-replaced": {f"{RELEASE}/{LLAMA}-cache"},
        "update": {f"{RELEASE}/{LLAMA}"},
    }
    stack.up()
    ((image, new),) = caches().items()
    assert image == f"{NIM['image']}:1.8.4"
    assert new["metadata"]["name"] != old["metadata"]["name"]
    assert new["status"]["state"] == "Ready"

    # `up` ends at a service that is ready, and the operator has not always seen the change by then
    service = wait(
        "the service is ready with the new cache",
        lambda: control_plane.api.get(f"{GROUP}/nimservices/{LLAMA}"),
        lambda seen: seen["status"]["state"] == "Ready",
    )
    assert service["spec"]["storage"]["nimCache"]["name"] == new["metadata"]["name"]

    def serving():
        served = (pod for pod in pods(control_plane, RELEASE) if pod["metadata"].get("labels", {}).get("app") == LLAMA)
        return {(pod["spec"]["containers"][0]["image"], pod["status"]["phase"]) for pod in served}

    wait("the new image alone serves", serving, lambda seen: seen == {(image, "Running")})
    claims = f"/api/v1/namespaces/{RELEASE}/persistentvolumeclaims"
    volume = f"{old['metadata']['name']}-pvc"
    wait("the old volume is gone", lambda: control_plane.api.exists(f"{claims}/{volume}"), lambda there: not there)
    assert stack.preview().changes == {}
    assert stack.refresh().changes == {}
