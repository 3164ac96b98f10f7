"""Volcano's enqueue decision: a job on a pool at zero has no pods, so that no autoscaler can see them."""

from decimal import Decimal
from typing import Any

import pytest
import yaml

from infra.platform.operators import VOLCANO_SCHEDULER
from simulator import quantities
from simulator.api import wait
from simulator.control_plane import ControlPlane
from simulator.operators import Operators, volcano
from simulator.operators.rounds import at
from tests.simulator.support import TOLERATES_GPU, create_resource, pod_spec

GPU = "nvidia.com/gpu"
SHIPPED: dict[str, Any] = {
    "actions": "enqueue, allocate, backfill",
    "tiers": [
        {"plugins": [{"name": "priority"}, {"name": "gang"}, {"name": "conformance"}]},
        {"plugins": [{"name": "overcommit"}, {"name": "drf"}, {"name": "predicates"}, {"name": "proportion"}]},
    ],
}


OF_THE_PROGRAM = yaml.safe_load(VOLCANO_SCHEDULER)
"""The configuration that the program puts there."""


def with_sla(waiting_time: str = "1s") -> dict[str, Any]:
    """Return the shipped configuration with `sla` in its first tier."""
    sla = {"name": "sla", "arguments": {"sla-waiting-time": waiting_time}}
    return SHIPPED | {"tiers": [{"plugins": [sla, *SHIPPED["tiers"][0]["plugins"]]}, SHIPPED["tiers"][1]]}


def without(name: str) -> dict[str, Any]:
    """Return the shipped configuration without a plugin."""
    tiers = [{"plugins": [plugin for plugin in tier["plugins"] if plugin["name"] != name]} for tier in SHIPPED["tiers"]]
    return SHIPPED | {"tiers": tiers}


def session(*, needed: int, gpus: int, used: int, age_s: float = 3600, inqueue: int = 0) -> volcano.Session:
    """Return a PodGroup that needs GPUs, in a cluster with `gpus`, of which `used` are taken and `inqueue` promised."""
    group = {"metadata": {}, "spec": {"minResources": {GPU: str(needed)}}}
    gpu = {GPU: Decimal(gpus)} if gpus else {}
    return volcano.Session(
        group=group,
        needed={GPU: Decimal(needed)},
        capacity={"cpu": Decimal(64)} | gpu,
        used={"cpu": Decimal(4), GPU: Decimal(used)},
        inqueue={GPU: Decimal(inqueue)},
        queued={},
        capability=None,
        age_s=age_s,
    )


@pytest.mark.parametrize(
    ("configuration", "seen", "enqueued"),
    [
        pytest.param(SHIPPED, session(needed=1, gpus=1, used=1), False, id="pool at zero, the NIM has the only GPU"),
        pytest.param(SHIPPED, session(needed=1, gpus=0, used=0), False, id="no GPU at all"),
        pytest.param(SHIPPED, session(needed=1, gpus=2, used=1), True, id="a node for the job is there"),
        pytest.param(SHIPPED, session(needed=1, gpus=2, used=1, inqueue=1), False, id="... and promised to another"),
        pytest.param(SHIPPED, session(needed=1, gpus=10, used=10), True, id="1.2 times 10 less 10 is 2"),
        pytest.param(
            without("overcommit"), session(needed=1, gpus=1, used=1), True, id="proportion: usage does not count"
        ),
        pytest.param(without("overcommit"), session(needed=2, gpus=1, used=1), False, id="proportion: more than all"),
        pytest.param(with_sla(), session(needed=1, gpus=1, used=1), True, id="waited long enough"),
        pytest.param(OF_THE_PROGRAM, session(needed=1, gpus=1, used=1), True, id="the program's, one GPU"),
        pytest.param(OF_THE_PROGRAM, session(needed=8, gpus=1, used=1), True, id="the program's, eight GPUs"),
        pytest.param(with_sla("2h"), session(needed=1, gpus=1, used=1), False, id="not yet"),
        pytest.param(with_sla("0s"), session(needed=1, gpus=1, used=1), False, id="0 is no waiting time for Volcano"),
    ],
)
def test_enqueue(configuration, seen, enqueued):
    assert volcano.is_enqueueable(configuration, seen) == enqueued


@pytest.mark.parametrize(
    ("text", "expected"), [("1h2m3s", 3723.0), ("150ms", 0.15), ("5", None), ("x", None), (None, None)]
)
def test_durations(text, expected):
    assert volcano.seconds(text) == expected


def test_quantities():
    resources = quantities.resources({"cpu": "500m", "memory": "1Gi", GPU: 2, "odd": "many"})
    assert resources == {"cpu": Decimal("0.5"), "memory": Decimal(1024**3), GPU: Decimal(2)}


@pytest.mark.slow
def test_a_pool_at_zero_grows_only_for_a_job_that_is_enqueued(
    control_plane: ControlPlane, namespace: str, define: Any
) -> None:
    define("batch.volcano.sh/v1alpha1", "Job")
    define("scheduling.volcano.sh/v1beta1", "PodGroup", "Queue!")
    api = control_plane.api
    configuration = f"/api/v1/namespaces/{namespace}/configmaps"
    name = "volcano-scheduler-configmap"
    api.create(configuration, {"metadata": {"name": name}, "data": {volcano.CONFIGURATION: yaml.safe_dump(SHIPPED)}})
    control_plane.add_nodes(1)
    template = {"spec": pod_spec(gpus=1, tolerations=TOLERATES_GPU)}
    spec = {"minAvailable": 1, "tasks": [{"name": "train", "replicas": 1, "template": template}]}
    with control_plane.gpu_pool("training", maximum=2) as pool:
        job = create_resource(control_plane, at(volcano.JOBS, namespace), "Job", "lora", spec)
        wait("the kinds are served", lambda: api.serves(volcano.QUEUES) and api.serves(volcano.POD_GROUPS))
        for _ in range(3):
            Operators(api).once()
        assert api.get(job)["status"]["state"] == {"phase": "Pending"}
        assert api.items(f"/api/v1/namespaces/{namespace}/pods") == []
        assert pool.created == []

        api.patch(f"{configuration}/{name}", {"data": {volcano.CONFIGURATION: yaml.safe_dump(with_sla())}})
        wait("it ends", lambda: api.get(job)["status"]["state"]["phase"], lambda phase: phase == "Completed")
        assert pool.created == ["training-0"], "one node is enough"
