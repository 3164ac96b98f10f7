"""Cluster-wide software that the stack stands on, in the order in which it must come.

Each is installed (a release of ours), adopted (its telling kind must exist, else the run fails and names the kind) or
skipped. GPUs that the cloud or the cluster provides need nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.platform import Mode
from infra.config.stack import ClusterStackConfig
from infra.platform import gpu, operators
from infra.platform.helm import MINUTES, REVISION, ChartStore, revision
from infra.platform.manifests import Definitions, DefinitionsArgs
from infra.topology import Topology
from infra.versions import (
    AI_GATEWAY_API,
    CERT_MANAGER,
    DEVICE_PLUGIN,
    ENVOY_API,
    GATEWAY_API,
    GPU_OPERATOR,
    NIM_OPERATOR,
    VOLCANO,
    Chart,
)

TELLING_KINDS = {
    "gpu": "clusterpolicies.nvidia.com",
    "volcano": "podgroups.scheduling.volcano.sh",
    "cert_manager": "certificates.cert-manager.io",
    "nim_operator": "nimservices.apps.nvidia.com",
    "gateway_api": "httproutes.gateway.networking.k8s.io",
}
"""CustomResourceDefinition by which an adopted software is known."""


CRITICAL = kubernetes.core.v1.ScopedResourceSelectorRequirementArgs(
    operator="In", scope_name="PriorityClass", values=["system-node-critical", "system-cluster-critical"]
)
"""Pods of the system's priorities, which GKE admits outside kube-system only where a quota counts them."""


@dataclass(frozen=True, kw_only=True)
class PrerequisitesArgs:
    """`after`: what must be there first, the namespaces among it."""

    config: ClusterStackConfig
    topology: Topology
    charts: ChartStore
    after: Sequence[pulumi.Resource] = ()


class Prerequisites(pulumi.ComponentResource):
    """GPU software, Gateway API, Volcano, cert-manager, NIM operator. Each attribute: what to depend on."""

    gpu: list[pulumi.Resource]
    gateway_api: list[pulumi.Resource]
    volcano: list[pulumi.Resource]
    cert_manager: list[pulumi.Resource]
    nim_operator: list[pulumi.Resource]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: PrerequisitesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Prerequisites", name, None, opts)
        self.args, prerequisites = args, args.config.prerequisites
        self.gpu = self._gpu()
        self.gateway_api = self._gateway_api()
        self.volcano = self._software(
            "volcano",
            prerequisites.volcano,
            VOLCANO,
            names.VOLCANO_NAMESPACE,
            operators.volcano_values(),
            after=self._critical(prerequisites.volcano, names.VOLCANO_NAMESPACE),
            wait_for_jobs=True,  # volcano-admission-init makes the webhooks' certificate
        )
        if prerequisites.volcano == "install":
            self.volcano.append(self._scheduler(self.volcano[-1]))
        self.cert_manager = self._software(
            "cert_manager",
            prerequisites.cert_manager,
            CERT_MANAGER,
            names.CERT_MANAGER_NAMESPACE,
            operators.cert_manager_values(gateway_api=args.config.routes.kind == "gateway"),
            after=self.gateway_api,
        )
        self.nim_operator = self._software(
            "nim_operator",
            prerequisites.nim_operator,
            NIM_OPERATOR,
            names.NIM_OPERATOR_NAMESPACE,
            operators.nim_operator_values(),
            after=self.cert_manager,
        )
        self.ready = [*self.gpu, *self.gateway_api, *self.volcano, *self.cert_manager, *self.nim_operator]
        self.register_outputs({})

    def _gpu(self) -> list[pulumi.Resource]:
        config, gpu_settings = self.args.config, self.args.config.prerequisites.gpu
        placement = self.args.topology.placement
        if config.gpu_software == "provided":
            return []
        after = self._critical(gpu_settings.mode, names.GPU_NAMESPACE)
        if config.gpu_software == "gpu-operator":
            values = gpu.gpu_operator_values(config.cluster, config.pools, placement, config.observability)
            return self._software("gpu", gpu_settings.mode, GPU_OPERATOR, names.GPU_NAMESPACE, values, after=after)
        if gpu_settings.mode != "install":
            return []  # a device plugin has no kind of its own; whether GPUs are allocatable, the cluster tells
        values = gpu.device_plugin_values(config.pools, placement)
        return self._software("gpu", gpu_settings.mode, DEVICE_PLUGIN, names.GPU_NAMESPACE, values, after=after)

    def _gateway_api(self) -> list[pulumi.Resource]:
        config = self.args.config
        mode = config.prerequisites.gateway_api
        if config.routes.kind != "gateway" or mode == "skip":
            return []
        # Google's controller comes with definitions of its own, which the cluster keeps as they are
        google = config.routes.gateway.controller == "gke"
        manifests = list(GATEWAY_API) if mode == "install" and not google else []
        if names.ENVOY_NAMESPACE in self.args.topology.foundation:
            manifests += ENVOY_API  # whoever brought Gateway API: Envoy Gateway is ours, and so are its kinds
            manifests += AI_GATEWAY_API if config.routes.gateway.model_aliases else ()
        definitions = Definitions(
            "gateway-api",
            DefinitionsArgs(manifests=manifests, folder=self.args.charts.folder),
            pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )
        return [*([self._adopted("gateway_api")] if mode == "adopt" else []), *definitions.ready]

    def _software(
        self,
        key: str,
        mode: Mode,
        chart: Chart,
        namespace: str,
        values: dict[str, Any],
        *,
        after: Sequence[pulumi.Resource],
        wait_for_jobs: bool = False,
    ) -> list[pulumi.Resource]:
        if mode == "skip":
            return []
        if mode == "adopt":
            return [self._adopted(key)]
        release = self.args.charts.release(
            chart.name,
            chart,
            namespace=namespace,
            values=values,
            timeout_s=20 * MINUTES,
            wait_for_jobs=wait_for_jobs,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*self.args.after, *after]),
        )
        return [release]

    def _scheduler(self, release: pulumi.Resource) -> pulumi.Resource:
        """Configure Volcano's scheduler, again after each revision of its release: chart 1.9 has no value for it.

        The scheduler reads the file again when it changes.
        """
        assert isinstance(release, kubernetes.helm.v3.Release)
        return kubernetes.core.v1.ConfigMapPatch(
            "volcano-scheduler",
            metadata={
                "name": "volcano-scheduler-configmap",
                "namespace": names.VOLCANO_NAMESPACE,
                # by force: the file belongs to Helm
                "annotations": {"pulumi.com/patchForce": "true", REVISION: release.status.apply(revision)},
            },
            data={"volcano-scheduler.conf": operators.VOLCANO_SCHEDULER},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
        )

    def _adopted(self, key: str) -> pulumi.Resource:
        """Read the telling kind. If it is missing, the message shows the resource's name, so that is the setting."""
        kind = TELLING_KINDS[key]
        return kubernetes.apiextensions.v1.CustomResourceDefinition.get(
            f"prerequisites.{key}.adopt", kind, pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after))
        )

    def _critical(self, mode: Mode, namespace: str) -> list[pulumi.Resource]:
        """Quota for the charts whose pods have a priority of the system's."""
        if mode != "install":
            return []
        quota = kubernetes.core.v1.ResourceQuota(
            f"{namespace}-critical-pods",
            metadata={"name": "critical-pods", "namespace": namespace},
            spec=kubernetes.core.v1.ResourceQuotaSpecArgs(
                hard={"pods": "1G"},
                scope_selector=kubernetes.core.v1.ScopeSelectorArgs(match_expressions=[CRITICAL]),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )
        return [quota]
