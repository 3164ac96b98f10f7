"""The NeMo services: releases of the umbrella chart, and the Secrets with passwords that it must not choose itself.

The chart's public default passwords (Data Store's admin, key of stored W&B tokens, bundled databases) are never in
use: each is generated once and kept as a Pulumi secret. NIMs are nims.py, databases infra/platform/postgres.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.stack import ClusterStackConfig
from infra.names import Service
from infra.nemo.values import Surroundings, UmbrellaRelease, bundled_secret, releases, values
from infra.platform.helm import MINUTES, REVISION, ChartStore, revision
from infra.platform.passwords import GeneratedPassword
from infra.topology import Topology
from infra.topology.databases import PASSWORD_KEY, WITH_DATABASE
from infra.versions import NEMO

TIMEOUT_S = 30 * MINUTES  # images of several GB
PER_TARGET_S = 10 * MINUTES  # the Customizer asks NGC for the files of each target before it answers
NEEDS = {
    "entity_store": ("data_store",),
    "customizer": ("data_store", "entity_store"),
    "evaluator": ("data_store", "entity_store"),
    "guardrails": ("entity_store",),
    "deployment_management": ("data_store", "entity_store"),
}
"""Which service must run before which: it calls the other when it starts."""
ADMIN = "datastore_admin"
DEPLOYMENTS = {
    "core": ("nemo-core-api", "nemo-core-controller"),
    "customizer": ("nemo-nemo-operator-controller-manager", "nemo-customizer"),
}
"""Deployments of services that have more than one; the others' are called like their Service."""


@dataclass(frozen=True, kw_only=True)
class NemoServicesArgs:
    """`after`: namespaces, databases, bucket, MLflow and prerequisites, which must be there first."""

    config: ClusterStackConfig
    topology: Topology
    charts: ChartStore
    around: Surroundings
    after: Sequence[pulumi.Resource] = ()


class NemoServices(pulumi.ComponentResource):
    """Releases by namespace, and Secrets.

    `of`: key of a service -> what is there when it runs. `ready`: all of these.
    """

    of: dict[str, pulumi.Resource]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: NemoServicesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:nemo:Services", name, None, opts)
        self.of, self._after, self._topology = {}, list(args.after), args.topology
        umbrella_releases, targets = releases(args.topology.addresses), len(args.config.customizer.targets)
        for release in umbrella_releases:
            secrets = [secret for service in release.services for secret in self._secrets(service)]
            created = args.charts.release(
                names.RELEASE,
                NEMO,
                namespace=release.namespace,
                values=values(args.config, args.topology, release, args.around),
                timeout_s=timeout_s(release.services, targets),
                skip_await=names.CORE in release.services,
                resource_name=f"{release.namespace}/{names.RELEASE}",
                opts=pulumi.ResourceOptions(parent=self, depends_on=[*self._after, *secrets, *self._needed(release)]),
            )
            for service in release.services:
                self.of[service.key] = created
                if names.CORE in release.services:  # the release does not wait
                    within_s = timeout_s([service], targets)
                    self.of[service.key] = self._rollout(release.namespace, service, created, within_s)
        self.ready = list(dict.fromkeys(self.of.values()))
        self.register_outputs({"namespaces": sorted({release.namespace for release in umbrella_releases})})

    def _needed(self, release: UmbrellaRelease) -> list[pulumi.Resource]:
        """Releases that must run before this one."""
        needs = {key for service in release.services for key in NEEDS.get(service.key, ())}
        return list(dict.fromkeys(self.of[key] for key in sorted(needs) if key in self.of))

    def _rollout(
        self, namespace: str, service: Service, made: kubernetes.helm.v3.Release, within_s: int
    ) -> pulumi.Resource:
        """Wait for the Deployments of a service, and again after each revision of its release.

        The note of the revision is the only thing of these Deployments that is ours.
        """
        seconds = f"{within_s}s"
        before: pulumi.Resource = made
        for deployment in DEPLOYMENTS.get(service.key, (service.name,)):
            before = kubernetes.apps.v1.DeploymentPatch(
                f"{namespace}/{deployment}",
                metadata={
                    "name": deployment,
                    "namespace": namespace,
                    "annotations": {REVISION: made.status.apply(revision)},
                },
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[made, before],
                    custom_timeouts=pulumi.CustomTimeouts(create=seconds, update=seconds),
                ),
            )
        return before

    def _secrets(self, service: Service) -> list[pulumi.Resource]:
        """Secrets of a service with values that are generated."""
        bundled = service.key in WITH_DATABASE and service.key not in self._topology.databases
        created: list[pulumi.Resource] = []
        if service is names.DATA_STORE:
            password = self._password("data-store-admin")
            created.append(
                self._secret(service, names.DATA_STORE_ADMIN_SECRET, {"username": ADMIN, "password": password})
            )
            # 32 bytes in base64 without padding, which is what 43 letters and digits are too
            lfs = {names.LFS_KEY: self._password("data-store-lfs", length=43)}
            created.append(self._secret(service, names.LFS_SECRET, lfs))
        if service is names.CUSTOMIZER:
            wandb = {names.WANDB_KEY: self._password("customizer-wandb", length=32)}  # exactly 32
            created.append(self._secret(service, names.WANDB_SECRET, wandb))
        if bundled:
            secret = bundled_secret(service)
            keys = {
                PASSWORD_KEY: self._password(secret),
                "postgres-password": self._password(f"{secret}-admin"),
            }
            created.append(self._secret(service, secret, keys))
        return created

    def _password(self, name: str, length: int = 32) -> pulumi.Output[str]:
        return GeneratedPassword(name, length=length, opts=pulumi.ResourceOptions(parent=self)).value

    def _secret(
        self, service: Service, name: str, data: Mapping[str, str | pulumi.Output[str]]
    ) -> kubernetes.core.v1.Secret:
        namespace = self._topology.addresses.namespace(service)
        return kubernetes.core.v1.Secret(
            f"{namespace}/{name}",
            metadata={"name": name, "namespace": namespace},
            string_data=data,
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._after),
        )


def timeout_s(services: Sequence[Service], targets: int) -> int:
    """Seconds to wait until services run. `targets`: how many the Customizer has."""
    return TIMEOUT_S + (PER_TARGET_S * targets if names.CUSTOMIZER in services else 0)
