"""Values of Volcano, cert-manager, the NIM operator and CloudNativePG's operator. Pure."""

from typing import Any

from infra import names

ADMISSIONS = ("/jobs/mutate", "/jobs/validate", "/podgroups/mutate", "/queues/mutate", "/queues/validate")
"""Volcano's webhooks without those for pods.

Version 1.9 also hooks into every pod of the cluster with `failurePolicy: Fail`: while its one admission pod is away,
no pod anywhere can start. All they do is refuse pods whose queue is closed; later versions leave them out as well.
"""


def resources(cpu: str, memory: str, limit: str) -> dict[str, dict[str, str]]:
    """Requests, and a limit of memory; no limit of CPU, because idle CPU is for whoever needs it.

    A limit of CPU that a chart has by itself stays: seaweedfs, k8s-nim-operator, Guardrails.
    """
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}


def volcano_values() -> dict[str, Any]:
    small = resources("50m", "64Mi", "512Mi")
    return {
        "basic": {"image_pull_policy": "IfNotPresent"},
        "custom": {
            "enabled_admissions": ",".join(ADMISSIONS),
            "admission_resources": small,
            "controller_resources": small,
            "scheduler_resources": resources("100m", "128Mi", "1Gi"),
        },
    }


VOLCANO_SCHEDULER = """\
actions: "enqueue, allocate, backfill"
tiers:
- plugins:
  - name: sla
    arguments:
      sla-waiting-time: 1m
  - name: priority
  - name: gang
    enablePreemptable: false
  - name: conformance
- plugins:
  - name: overcommit
  - name: drf
    enablePreemptable: false
  - name: predicates
  - name: proportion
  - name: nodeorder
  - name: binpack
"""
"""The chart's configuration of the scheduler (installer/helm/chart/volcano/config of v1.9.0) with plugin sla before it.

Volcano makes the pods of a job only after it has let the job in, and `overcommit` lets none in whose GPUs are not in
the cluster: on a pool of zero nodes the autoscaler would never see a pod, and the pool would stay at zero. After a
minute `sla` lets a job in before `overcommit` is asked.
"""


def cert_manager_values(*, gateway_api: bool) -> dict[str, Any]:
    """Values of cert-manager. Its check after installation makes the release ready when its webhook is.

    `gateway_api`: the stack has routes through a Gateway.
    """
    values: dict[str, Any] = {
        "crds": {"enabled": True, "keep": True},
        "global": {"leaderElection": {"namespace": names.CERT_MANAGER_NAMESPACE}},  # some clouds lock kube-system
        "resources": resources("50m", "64Mi", "256Mi"),
        "webhook": {"resources": resources("20m", "32Mi", "128Mi")},
        "cainjector": {"resources": resources("50m", "128Mi", "512Mi")},
        "startupapicheck": {"resources": resources("20m", "32Mi", "128Mi")},
    }
    if gateway_api:
        values["config"] = {
            "apiVersion": "controller.config.cert-manager.io/v1alpha1",
            "kind": "ControllerConfiguration",
            "enableGatewayAPI": True,  # it looks for Gateways only if their definitions are there when it starts
        }
    return values


def nim_operator_values() -> dict[str, Any]:
    """Values of k8s-nim-operator. Its hook upgrades its definitions, which Helm would leave as they were."""
    return {
        "operator": {
            "upgradeCRD": True,
            "resources": resources("100m", "128Mi", "512Mi"),
            "admissionController": {"enabled": True, "tls": {"mode": "cert-manager"}},
        }
    }


def postgres_operator_values() -> dict[str, Any]:
    return {"crds": {"create": True}, "resources": resources("100m", "128Mi", "512Mi")}
