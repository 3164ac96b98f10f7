"""The NeMo Platform on the simulated cluster: brought up, unchanged, beside the microservices, and gone again.

The stand-in of its chart starts nothing that answers, so what the platform would make of NIMs is not there: pods of the
Job that makes them known succeed as all pods of Jobs do here.
"""

import pytest

from tests.cluster.support import LLAMA, NIM, assert_healthy, namespaces, pods, values

pytestmark = pytest.mark.slow

SERVICES = ("data_store", "entity_store", "customizer", "evaluator")
OIDC = {"issuer": "https://id.example.com", "client_id": "nemo", "admin_email": "admin@example.com"}


def test_the_platform_alone_is_unchanged_by_a_second_look_and_goes_to_nothing(make, control_plane):
    before = namespaces(control_plane)
    stack = make(product="platform", platform={"oidc": OIDC})
    stack.up()
    assert_healthy(control_plane, least_urls=2)
    got = values(control_plane, "nemo-platform", "nemo-platform")
    assert got["platformConfig"]["files"]["default_storage_config"]["type"] == "s3"
    jobs = control_plane.api.items("/apis/batch/v1/namespaces/nemo-platform/jobs")
    assert {"nemo-platform-models", "nemo-platform-platform-seed"} <= {job["metadata"]["name"] for job in jobs}
    found = stack.outputs()
    assert (found["product"], found["base_model"]) == ("platform", "default/meta-llama-3-2-3b-instruct")
    assert "nemo-evaluator" not in namespaces(control_plane)
    assert stack.preview().changes == {}
    assert stack.refresh().changes == {}
    assert stack.preview().changes == {}, "what the refresh has read is what the program says"

    stack.configure(nims=[{**NIM, "deploy": "platform", "env": {"NIM_LOG_LEVEL": "DEBUG"}}])
    assert stack.preview().changes == {"replace": 1}, "the Job tells the platform of the change"
    stack.up()

    stack.destroy()
    assert namespaces(control_plane) == before


def test_both_products_in_one_stack_and_the_microservices_taken_out(make, control_plane):
    small = {"services": {"evaluator": False, "customizer": False}, "prerequisites": {"volcano": "skip"}}
    stack = make(product="platform", platform={"keep_microservices": True}, nims=[{**NIM, "lora": None}], **small)
    stack.up()
    assert_healthy(control_plane, least_urls=2)
    assert {"nemo-platform", "nemo-datastore", LLAMA} <= namespaces(control_plane)
    found = stack.outputs()
    assert found["microservices"]["product"] == "microservices"
    assert stack.preview().changes == {}

    stack.configure(platform={}, services=dict.fromkeys(SERVICES, False))
    stack.up()
    assert "nemo-datastore" not in namespaces(control_plane)
    assert {"nemo-platform", "mlflow", "postgres"} <= namespaces(control_plane)
    assert LLAMA not in namespaces(control_plane), "its NIM is the platform's now"
    assert [pod for pod in pods(control_plane, "nemo-platform") if pod["status"]["phase"] == "Running"]
