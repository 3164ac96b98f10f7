"""Databases and buckets as their users see them: where they are and which Secret opens them. Pure.

What makes them (postgres.py, object_store.py) and what uses them (values of the charts) both read them from here.
"""

from dataclasses import dataclass

from infra import names
from infra.config import addresses
from infra.config.platform import ExternalDatabase
from infra.config.stack import ClusterStackConfig

PASSWORD_KEY = "password"
URI_KEY = "uri"
ACCESS_KEY = "access_key"
SECRET_KEY = "secret_key"

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""The authorities that Debian and Ubuntu trust. That NVIDIA's images have the file is UNVERIFIED."""

WITH_DATABASE = ("data_store", "entity_store", "customizer", "evaluator", "core", "guardrails")


IN_CLUSTER = addresses.host(names.OBJECT_STORE_SERVICE, names.OBJECT_STORE_NAMESPACE)


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database of one service.

    `secret` has the keys username, password, dbname, host, port and uri where we make it; an external one needs only
    password, username for MLflow, and `uri_key`, the key of a whole URI, if that is said.
    """

    service: str
    namespace: str
    """Of the service; its Secret is in those of `readers`."""
    host: str
    port: int
    name: str
    user: str
    secret: str
    ssl_mode: str
    uri_key: str | None = None

    @property
    def tls_environment(self) -> dict[str, str]:
        """Environment that tells libpq and drivers that follow it how to use TLS.

        Without a file of authorities libpq looks for one in the user's home and refuses to connect.
        """
        if self.ssl_mode not in ("verify-ca", "verify-full"):
            return {"PGSSLMODE": self.ssl_mode}
        return {"PGSSLMODE": self.ssl_mode, "PGSSLROOTCERT": CA_BUNDLE}


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket. `secret` has the keys access_key and secret_key; None: pods get access from the cloud."""

    kind: str
    name: str
    endpoint: str | None
    region: str | None
    account: str | None
    secret: str | None

    @property
    def s3(self) -> bool:
        """Whether it speaks the S3 API."""
        return self.kind != "azure"


def databases(config: ClusterStackConfig) -> dict[str, Database]:
    """Return the database of each service that has one, MLflow included; none where charts bundle their own.

    With `bundled` only MLflow's is left out of the charts: it then keeps a file.
    """
    if config.postgres.kind == "bundled":
        return {}
    owners = [
        (service.key, service.database, addresses.namespace(config, service))
        for service in addresses.services(config)
        if service.key in WITH_DATABASE
    ]
    owners += [("mlflow", "mlflow", names.MLFLOW_NAMESPACE)] if config.mlflow.mode == "install" else []
    return {key: database(config, key, default, namespace) for key, default, namespace in owners}


def database(config: ClusterStackConfig, service: str, default: str, namespace: str) -> Database:
    """Return the database of one service; `default`: its name, its user and the beginning of its Secret's name."""
    external = config.postgres.external
    if external is None:
        host = addresses.host(f"{names.POSTGRES_CLUSTER}-rw", names.POSTGRES_NAMESPACE)
        return Database(
            service=service,
            namespace=namespace,
            host=host,
            port=5432,
            name=default,
            user=default,
            secret=f"{default}-postgres",
            ssl_mode="require",
        )
    external_database: ExternalDatabase = getattr(external.databases, service)
    return Database(
        service=service,
        namespace=namespace,
        host=external.host,
        port=external.port,
        name=external_database.name or default,
        user=external_database.user or default,
        secret=external_database.secret or f"{default}-postgres",
        ssl_mode=external.ssl_mode,
        uri_key=external.uri_key,
    )


def readers(config: ClusterStackConfig, database: Database) -> tuple[str, ...]:
    """Namespaces that need the Secret of a database: its service's, and the jobs service's for the Entity Store."""
    also = [addresses.namespace(config, names.CORE)] if database.service == "entity_store" else []
    running = names.CORE in addresses.services(config)
    return tuple(dict.fromkeys([database.namespace, *(also if running else [])]))


def bucket_readers(config: ClusterStackConfig) -> tuple[str, ...]:
    """Namespaces that need the Secret of the bucket: Data Store's and MLflow's."""
    namespaces = [addresses.namespace(config, names.DATA_STORE)] if config.services.data_store else []
    namespaces += [names.MLFLOW_NAMESPACE] if config.mlflow.mode == "install" else []
    return tuple(dict.fromkeys(namespaces))


def bucket(config: ClusterStackConfig) -> Bucket | None:
    """Return the bucket of the stack, None where volumes do."""
    object_store = config.object_store
    endpoints = {
        "in-cluster": f"http://{IN_CLUSTER}:{names.OBJECT_STORE_PORT}",
        "gcs": "https://storage.googleapis.com",
    }
    if object_store.kind == "none":
        return None
    return Bucket(
        kind=object_store.kind,
        name=object_store.bucket,
        endpoint=object_store.endpoint or endpoints.get(object_store.kind),
        region=object_store.region,
        account=object_store.account,
        secret=None if object_store.kind == "azure" else object_store.secret or names.OBJECT_STORE_SECRET,
    )
