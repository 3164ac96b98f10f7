"""The configuration of Volcano's scheduler: the one that its chart ships, and `sla` before everything else.

Without it training never starts on a pool at zero. Volcano creates the pods of a job only when its PodGroup has been
enqueued, and the plugin `overcommit` of the shipped configuration enqueues only what fits into 1.2 times the GPUs of
the nodes that are there. So there is no pod, and no autoscaler adds a node for it. `sla`, asked first, permits a job
that has waited for a minute; its pods then wait for a node where the autoscaler sees them.

The chart of 1.9 has no value for the configuration (`custom.scheduler_config_override` came with 1.10), so its
ConfigMap is patched; the scheduler reads it again when it changes. An upgrade of the release brings the shipped one
back, so that each revision is patched anew.
"""

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.platform.helm import REVISION, revision

CONFIG_MAP = "volcano-scheduler-configmap"
KEY = "volcano-scheduler.conf"
CONFIGURATION = """\
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


def configured(release: kubernetes.helm.v3.Release, parent: pulumi.Resource) -> pulumi.Resource:
    """Patch the scheduler's configuration of a release of Volcano; return what training has to wait for."""
    return kubernetes.core.v1.ConfigMapPatch(
        f"{names.VOLCANO_NAMESPACE}/{CONFIG_MAP}",
        metadata={
            "name": CONFIG_MAP,
            "namespace": names.VOLCANO_NAMESPACE,
            "annotations": {
                "pulumi.com/patchForce": "true",  # the field is Helm's
                REVISION: release.status.apply(revision),
            },
        },
        data={KEY: CONFIGURATION},
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[release]),
    )
