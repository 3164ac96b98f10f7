"""A stack on Kubernetes, from the cluster up to the routes: reads like the order in which things must come."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from infra import names
from infra.cluster.outputs import outputs
from infra.clusters import connect
from infra.config import ClusterStackConfig
from infra.nemo.nims import Nims, NimsArgs
from infra.nemo.platform import Platform, PlatformArgs
from infra.nemo.services import NemoServices, NemoServicesArgs
from infra.nemo.values import Surroundings
from infra.platform.helm import ChartStore
from infra.platform.mlflow import Mlflow, MlflowArgs
from infra.platform.monitoring import Monitoring, MonitoringArgs, Prometheus, PrometheusArgs
from infra.platform.namespaces import Namespaces, NamespacesArgs
from infra.platform.network_policies import NetworkPolicies, NetworkPoliciesArgs
from infra.platform.object_store import ObjectStore, ObjectStoreArgs
from infra.platform.postgres import Postgres, PostgresArgs
from infra.platform.prerequisites import Prerequisites, PrerequisitesArgs
from infra.platform.routing.component import Routes, RoutesArgs
from infra.topology import resolve_topology
from infra.topology.addresses import Addresses


@dataclass(frozen=True, kw_only=True)
class ClusterStackArgs:
    """What a stack on Kubernetes is made from. `root`: the clone. `secrets`: the secret settings that have a value."""

    root: Path
    settings: ClusterStackConfig
    secrets: Mapping[str, pulumi.Output[str]]


class ClusterStack(pulumi.ComponentResource):
    """Everything of a stack on Kubernetes. `exports`: its outputs."""

    exports: dict[str, Any]

    def __init__(self, name: str, args: ClusterStackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:cluster:Stack", name, None, opts)
        config, secrets = args.settings, args.secrets
        topology = resolve_topology(config)
        charts = ChartStore(config.charts, args.root, secrets.get("ngc_api_key"))

        cluster = connect(config, topology, args.root, pulumi.ResourceOptions(parent=self))
        inside = pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=list(cluster.ready))

        namespaces = Namespaces(
            "namespaces",
            NamespacesArgs(
                topology=topology,
                security=config.security,
                nims=config.nims,
                adopted=config.namespaces.adopt,
                credentials=config.credentials,
                secrets=secrets,
            ),
            inside,
        )
        NetworkPolicies(
            "policies",
            NetworkPoliciesArgs(security=config.security, connections=topology.connections, namespaces=namespaces.of),
            inside,
        )
        # NIMs wait for their own namespace only: there may be hundreds
        shared_objects = [
            created for where in shared(topology.addresses, namespaces.of) for created in namespaces.inside[where]
        ]
        after = [*cluster.ready, *shared_objects]
        prometheus = Prometheus(
            "prometheus",
            PrometheusArgs(
                settings=config.observability,
                cluster=config.cluster,
                charts=charts,
                storage_class=cluster.storage_class,
                after=after,
            ),
            inside,
        )
        after += prometheus.ready
        needed = Prerequisites(
            "prerequisites", PrerequisitesArgs(config=config, topology=topology, charts=charts, after=after), inside
        )
        after += needed.ready

        postgres = Postgres(
            "postgres",
            PostgresArgs(
                settings=config.postgres,
                databases=topology.databases,
                mlflow_logins=config.mlflow.basic_auth,
                charts=charts,
                storage_class=cluster.storage_class,
                after=after,
            ),
            inside,
        )
        bucket = ObjectStore(
            "object-store",
            ObjectStoreArgs(
                settings=config.object_store,
                bucket=topology.bucket,
                charts=charts,
                secrets=secrets,
                storage_class=cluster.storage_class,
                after=after,
            ),
            inside,
        )
        after += [*postgres.ready, *bucket.ready]
        mlflow = Mlflow(
            "mlflow",
            MlflowArgs(
                settings=config.mlflow,
                observability=config.observability,
                topology=topology,
                charts=charts,
                storage_class=cluster.storage_class,
                annotations=cluster.object_store_annotations,
                after=after,
            ),
            inside,
        )

        around = Surroundings(
            credentials=namespaces.credentials,
            storage_class=cluster.storage_class,
            rwx_storage_class=cluster.rwx_storage_class,
        )
        services = NemoServices(
            "nemo",
            NemoServicesArgs(
                config=config, topology=topology, charts=charts, around=around, after=[*after, *mlflow.ready]
            ),
            inside,
        )
        first = [*cluster.ready, *prometheus.ready, *needed.ready]
        entity_store = services.of.get(names.ENTITY_STORE.key)
        nims = Nims(
            "nims",
            NimsArgs(
                nims=config.nims,
                topology=topology,
                charts=charts,
                around=around,
                inside=namespaces.inside,
                after=[*first, *([entity_store] if entity_store else [])],
            ),
            inside,
        )
        if topology.addresses.runs(names.NEMO_PLATFORM):
            Platform(
                "platform",
                PlatformArgs(
                    settings=config.platform,
                    observability=config.observability,
                    nims=config.nims,
                    topology=topology,
                    charts=charts,
                    around=around,
                    after=[*after, *mlflow.ready],
                    made=list(nims.of.values()),
                ),
                inside,
            )
        Routes(
            "routes",
            RoutesArgs(
                settings=config.routes,
                target=config.target,
                topology=topology,
                charts=charts,
                namespaces=namespaces.of,
                cert_manager=config.prerequisites.cert_manager != "skip",
                after=first,
            ),
            inside,
        )
        Monitoring("monitoring", MonitoringArgs(settings=config.observability, topology=topology, after=after), inside)

        stack_outputs = outputs(config, topology, secrets, cluster.kubeconfig_path, cluster.context)
        self.exports = stack_outputs.model_dump() | {"kubeconfig": cluster.kubeconfig}
        self.register_outputs({"nemo_url": stack_outputs.nemo_url})


def shared(addresses: Addresses, namespaces: Collection[str]) -> list[str]:
    """Return the namespaces of everything but those that hold a NIM alone."""
    others = {addresses.namespace(service) for service in addresses.running}
    alone = {nim.namespace for nim in addresses.nims.values()} - others
    return [namespace for namespace in namespaces if namespace not in alone]
