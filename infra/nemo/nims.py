"""NIMs, any number, each by chart nim-llm or by the NIM operator's NIMCache and NIMService.

A NIM counts as made when it answers: Helm waits for the pods, and Pulumi for the operator's verdict. The time it may
take is its startup window and what a new node and its images take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from infra.config.nemo import Nim
from infra.nemo.nim_values import cache_name, cache_spec, chart_values, pod_labels, service_spec
from infra.nemo.values import Surroundings
from infra.platform.helm import MINUTES, ChartStore
from infra.topology import Topology
from infra.versions import NIM_LLM

NODE_S = 15 * MINUTES  # a GPU node from nothing, and an image of more than 10 GB on it
API = "apps.nvidia.com/v1alpha1"
READY = {
    "pulumi.com/waitFor": "jsonpath={.status.state}=Ready",
    # deletion in the foreground hangs on the operator's finalizers and re-creates pods (its issue 594)
    "pulumi.com/deletionPropagationPolicy": "background",
}


@dataclass(frozen=True, kw_only=True)
class NimsArgs:
    """`after`: what every NIM needs: GPU software, NIM operator, the Entity Store's release.

    `inside`: namespace -> what must be there before anything is put into it.
    """

    nims: Sequence[Nim]
    topology: Topology
    charts: ChartStore
    around: Surroundings
    inside: Mapping[str, Sequence[pulumi.Resource]]
    after: Sequence[pulumi.Resource] = ()


class Nims(pulumi.ComponentResource):
    """One release, or NIMCache and NIMService, for each NIM; a service account and a disruption budget where wanted.

    `of`: name of a NIM -> the resource that is there when it answers.
    """

    of: dict[str, pulumi.Resource]

    def __init__(self, name: str, args: NimsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:nemo:Nims", name, None, opts)
        self._args = args
        made = [nim for nim in args.nims if nim.deploy != "platform"]  # the NeMo Platform makes the others
        self.of = {
            nim.name: self._by_operator(nim) if nim.deploy == "operator" else self._by_chart(nim) for nim in made
        }
        for nim in made:
            if nim.disruption_budget is not None:
                self._budget(nim, nim.disruption_budget)
        self.register_outputs({"nims": sorted(self.of)})

    def _metadata(self, nim: Nim, annotations: dict[str, str] | None = None) -> kubernetes.meta.v1.ObjectMetaArgs:
        namespace = self._args.topology.addresses.namespace(nim)
        return kubernetes.meta.v1.ObjectMetaArgs(name=nim.name, namespace=namespace, annotations=annotations)

    def _first(self, nim: Nim) -> list[pulumi.Resource]:
        return [*self._args.after, *self._args.inside.get(self._args.topology.addresses.namespace(nim), ())]

    def _options(self, nim: Nim, after: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        seconds = f"{wait_s(nim)}s"
        return pulumi.ResourceOptions(
            parent=self,
            depends_on=[*self._first(nim), *after],
            custom_timeouts=pulumi.CustomTimeouts(create=seconds, update=seconds),
        )

    def _by_chart(self, nim: Nim) -> pulumi.Resource:
        args, namespace = self._args, self._args.topology.addresses.namespace(nim)
        account = kubernetes.core.v1.ServiceAccount(
            f"{namespace}/{nim.name}",
            metadata=self._metadata(nim),
            automount_service_account_token=False,
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._first(nim)),
        )
        return args.charts.release(
            nim.name,
            NIM_LLM,
            namespace=namespace,
            values=chart_values(args.topology, nim, args.around),
            timeout_s=wait_s(nim),
            resource_name=f"{namespace}/{nim.name}",
            opts=self._options(nim, [account]),
        )

    def _by_operator(self, nim: Nim) -> pulumi.Resource:
        args, namespace = self._args, self._args.topology.addresses.namespace(nim)
        cached = cache_spec(args.topology.placement, nim, args.around)
        cache = kubernetes.apiextensions.CustomResource(
            f"{namespace}/{nim.name}-cache",
            api_version=API,
            kind="NIMCache",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(
                name=cache_name(nim, cached), namespace=namespace, annotations=READY
            ),
            spec=cached,
            opts=self._options(nim),
        )
        return kubernetes.apiextensions.CustomResource(
            f"{namespace}/{nim.name}",
            api_version=API,
            kind="NIMService",
            metadata=self._metadata(nim, READY),
            spec=service_spec(args.topology, nim, args.around),
            opts=self._options(nim, [cache]),
        )

    def _budget(self, nim: Nim, least: int) -> None:
        namespace = self._args.topology.addresses.namespace(nim)
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{namespace}/{nim.name}",
            metadata=self._metadata(nim),
            spec={"min_available": least, "selector": {"match_labels": pod_labels(nim)}},
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._first(nim)),
        )


def wait_s(nim: Nim) -> int:
    """Seconds to wait until a NIM answers."""
    return nim.startup_minutes * MINUTES + NODE_S
