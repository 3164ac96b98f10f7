"""Databases as their users see them: where they are, which Secret opens them, which namespaces need that. Pure.

postgres.py makes them, and values of charts use them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infra import names
from infra.config.platform import ExternalDatabase, Postgres
from infra.topology.addresses import Address, Addresses

PASSWORD_KEY = "password"
URI_KEY = "uri"

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""The authorities that Debian and Ubuntu trust. That NVIDIA's images have the file is UNVERIFIED."""

WITH_DATABASE = ("data_store", "entity_store", "customizer", "evaluator", "core", "guardrails", "platform")
OWN_SERVER = Address(namespace=names.POSTGRES_NAMESPACE, service=f"{names.POSTGRES_CLUSTER}-rw", port=5432)
"""The primary server of the stack's own Postgres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database of one service.

    `secret` has the keys username, password, dbname, host, port and uri where we make it; an external one needs only
    password, username for MLflow, and `uri_key`, the key of a whole URI, if that is said.
    """

    server_namespace: str | None
    """Of the stack's own server; None for an external one."""
    host: str
    port: int
    name: str
    user: str
    secret: str
    ssl_mode: str
    uri_key: str | None = None
    readers: tuple[str, ...]
    """Namespaces that need the Secret: the service's, and the jobs service's for the Entity Store."""

    @property
    def tls_environment(self) -> dict[str, str]:
        """Environment that tells libpq and drivers that follow it how to use TLS.

        Without a file of authorities libpq looks for one in the user's home and refuses to connect.
        """
        if self.ssl_mode not in ("verify-ca", "verify-full"):
            return {"PGSSLMODE": self.ssl_mode}
        return {"PGSSLMODE": self.ssl_mode, "PGSSLROOTCERT": CA_BUNDLE}


def resolve_databases(postgres: Postgres, addresses: Addresses) -> Mapping[str, Database]:
    """Return the database of each service that has one, MLflow included; none where charts bundle their own.

    With `bundled` only MLflow's is left out of the charts: it then keeps a file.
    """
    if postgres.kind == "bundled":
        return {}
    databases = {}
    for service in addresses.running:
        if service.key in WITH_DATABASE:
            readers = [addresses.namespace(service)]
            if service is names.ENTITY_STORE and addresses.runs(names.CORE):
                readers.append(addresses.namespace(names.CORE))
            databases[service.key] = resolve_database(postgres, service.key, service.database, readers)
    if addresses.mlflow:
        databases["mlflow"] = resolve_database(postgres, "mlflow", "mlflow", [addresses.mlflow.namespace])
    return databases


def resolve_database(postgres: Postgres, service: str, default: str, readers: list[str]) -> Database:
    """Return the database of one service; `default`: its name, its user and the beginning of its Secret's name."""
    unique_readers, external = tuple(dict.fromkeys(readers)), postgres.external
    if external is None:
        return Database(
            server_namespace=OWN_SERVER.namespace,
            host=OWN_SERVER.host,
            port=OWN_SERVER.port,
            name=default,
            user=default,
            secret=f"{default}-postgres",
            ssl_mode="require",
            readers=unique_readers,
        )
    external_database: ExternalDatabase = getattr(external.databases, service)
    return Database(
        server_namespace=None,
        host=external.host,
        port=external.port,
        name=external_database.name or default,
        user=external_database.user or default,
        secret=external_database.secret or f"{default}-postgres",
        ssl_mode=external.ssl_mode,
        uri_key=external.uri_key,
        readers=unique_readers,
    )
