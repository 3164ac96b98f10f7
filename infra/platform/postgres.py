"""Databases of the services: CloudNativePG's operator, one cluster of servers, a database and a user a service.

Passwords are made here and kept as Pulumi secrets; the operator and the services read them from Secrets. On an
external server nothing is made or looked at: databases, users and Secrets are yours. `bundled` makes nothing either,
the charts bring their own then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.platform import Postgres as PostgresSettings
from infra.platform import operators
from infra.platform.helm import ChartStore
from infra.platform.passwords import GeneratedPassword
from infra.topology.databases import PASSWORD_KEY, URI_KEY, Database
from infra.versions import CLOUDNATIVE_PG, POSTGRES_IMAGE

API = "postgresql.cnpg.io/v1"
TELLING_KIND = "clusters.postgresql.cnpg.io"
WAIT_FOR = "pulumi.com/waitFor"
RELOAD_LABEL = {"cnpg.io/reload": "true"}  # the operator applies a changed password at once
TIMEOUTS = pulumi.CustomTimeouts(create="20m", update="30m")


@dataclass(frozen=True, kw_only=True)
class PostgresArgs:
    """`mlflow_logins`: MLflow keeps logins, in a database of their own. `storage_class`: None: the cluster's default.

    `after`: what must be there first.
    """

    settings: PostgresSettings
    databases: Mapping[str, Database]
    mlflow_logins: bool
    charts: ChartStore
    storage_class: str | None = None
    after: Sequence[pulumi.Resource] = ()


class Postgres(pulumi.ComponentResource):
    """Operator, servers, databases, Secrets. `ready`: databases that exist and the Secrets that open them."""

    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: PostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Postgres", name, None, opts)
        self.args, self.ready = args, []
        if args.settings.kind == "cloudnative-pg":
            self._make()
        self.register_outputs({})

    def _make(self) -> None:
        databases = self.args.databases
        before: list[pulumi.Resource] = [*self._operator(), *self.args.after]
        secrets: list[pulumi.Resource] = []
        roles: list[pulumi.Resource] = []
        for database in databases.values():
            password = GeneratedPassword(f"postgres-{database.name}", opts=pulumi.ResourceOptions(parent=self)).value
            login = {"username": pulumi.Output.from_input(database.user), "password": password}
            roles.append(
                self._secret(names.POSTGRES_NAMESPACE, database, login, "kubernetes.io/basic-auth", RELOAD_LABEL)
            )
            content = connection(database, password)
            secrets += [self._secret(namespace, database, content) for namespace in database.readers]
        cluster = kubernetes.apiextensions.CustomResource(
            names.POSTGRES_CLUSTER,
            api_version=API,
            kind="Cluster",
            metadata={
                "name": names.POSTGRES_CLUSTER,
                "namespace": names.POSTGRES_NAMESPACE,
                "annotations": {WAIT_FOR: "condition=Ready"},
            },
            spec=cluster_spec(self.args.settings, list(databases.values()), self.args.storage_class),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*before, *roles], custom_timeouts=TIMEOUTS),
        )
        created = [
            kubernetes.apiextensions.CustomResource(
                f"database-{database}",
                api_version=API,
                kind="Database",
                metadata={
                    "name": database,
                    "namespace": names.POSTGRES_NAMESPACE,
                    "annotations": {WAIT_FOR: "jsonpath={.status.applied}=true"},
                },
                spec=database_spec(database, owner),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster]),
            )
            for database, owner in database_owners(databases, mlflow_logins=self.args.mlflow_logins).items()
        ]
        self.ready = [*created, *secrets]

    def _operator(self) -> list[pulumi.Resource]:
        mode, opts = self.args.settings.operator, pulumi.ResourceOptions(parent=self)
        if mode == "skip":
            return []
        if mode == "adopt":
            get = kubernetes.apiextensions.v1.CustomResourceDefinition.get
            return [get("postgres.operator.adopt", TELLING_KIND, opts)]
        release = self.args.charts.release(
            CLOUDNATIVE_PG.name,
            CLOUDNATIVE_PG,
            namespace=names.POSTGRES_OPERATOR_NAMESPACE,
            values=operators.postgres_operator_values(),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )
        return [release]

    def _secret(
        self,
        namespace: str,
        database: Database,
        content: dict[str, pulumi.Output[str]],
        kind: str = "Opaque",
        labels: dict[str, str] | None = None,
    ) -> kubernetes.core.v1.Secret:
        return kubernetes.core.v1.Secret(
            f"{namespace}-{database.secret}",
            metadata=kubernetes.meta.v1.ObjectMetaArgs(name=database.secret, namespace=namespace, labels=labels),
            type=kind,
            string_data=content,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )


def connection(database: Database, password: pulumi.Output[str]) -> dict[str, pulumi.Output[str]]:
    """Content of a service's Secret.

    The URI says nothing of TLS, because drivers differ in the word for it; libpq's default is to use it where it is
    offered, and these servers offer it.
    """
    plain = {
        "username": database.user,
        "dbname": database.name,
        "host": database.host,
        "port": str(database.port),
    }
    uri = password.apply(
        lambda secret: f"postgresql://{database.user}:{secret}@{database.host}:{database.port}/{database.name}"
    )
    content = {key: pulumi.Output.from_input(value) for key, value in plain.items()}
    return content | {PASSWORD_KEY: password, URI_KEY: uri}


def database_owners(databases: Mapping[str, Database], *, mlflow_logins: bool) -> dict[str, str]:
    """Databases to make -> the user that owns each."""
    owners = {database.name: database.user for database in databases.values()}
    if mlflow_logins and "mlflow" in databases:
        owners[names.MLFLOW_AUTH_DATABASE] = databases["mlflow"].user
    return owners


def cluster_spec(
    settings: PostgresSettings, databases: Sequence[Database], storage_class: str | None
) -> dict[str, Any]:
    """Spec of the CloudNativePG Cluster. TLS is on by default, with certificates of the operator's own."""
    storage: dict[str, Any] = {"size": settings.size}
    if storage_class:
        storage["storageClass"] = storage_class
    return {
        "imageName": POSTGRES_IMAGE,
        "instances": settings.instances,
        "enablePDB": settings.instances > 1,  # with one server it would only keep nodes from being drained
        "enableSuperuserAccess": False,
        "storage": storage,
        "resources": operators.resources("500m", "1Gi", "2Gi"),
        "postgresql": {"parameters": {"max_connections": "200", "shared_buffers": "256MB"}},
        "managed": {
            "roles": [
                {
                    "name": database.user,
                    "ensure": "present",
                    "login": True,
                    "passwordSecret": {"name": database.secret},
                }
                for database in databases
            ]
        },
    }


def database_spec(database: str, owner: str) -> dict[str, Any]:
    """Spec of a CloudNativePG Database. Taking it out of the stack leaves the data in the server."""
    return {
        "name": database,
        "owner": owner,
        "cluster": {"name": names.POSTGRES_CLUSTER},
        "databaseReclaimPolicy": "retain",
    }
