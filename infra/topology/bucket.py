"""The bucket as its users see it: where it is, and how pods get in, by keys or by an identity of the cloud's. Pure.

object_store.py makes it, and values of charts use it. The Data Store and the NeMo Platform take keys only. MLflow needs
none on GKE and AKS, where annotations of its service account tell, and on EKS, where an association outside of the
cluster does.
"""

from dataclasses import dataclass
from typing import Literal

from infra import names
from infra.config.clusters import AksSettings, ClusterSettings, EksSettings, GkeSettings
from infra.config.platform import ObjectStore
from infra.topology.addresses import Address, Addresses

ACCESS_KEY = "access_key"
SECRET_KEY = "secret_key"
ARTIFACTS = "mlflow"
"""Folder of MLflow's artifacts in the bucket."""
OWN_STORE = Address(
    namespace=names.OBJECT_STORE_NAMESPACE, service=names.OBJECT_STORE_SERVICE, port=names.OBJECT_STORE_PORT
)
"""The object store that the stack installs."""

IdentityOf = Literal["gke", "eks", "aks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket. `secret` has the keys access_key and secret_key; None: pods get access from the cloud."""

    kind: Literal["in-cluster", "s3", "gcs", "azure"]
    name: str
    endpoint: str | None
    region: str | None
    account: str | None
    secret: str | None
    readers: tuple[str, ...]
    """Namespaces whose pods open it: Data Store's, the platform's and MLflow's."""
    pod_identity: IdentityOf | None
    """The cloud that gives MLflow's pods an identity for it; on GKE only if the cluster has workload identity."""

    @property
    def s3(self) -> bool:
        """Whether it speaks the S3 API."""
        return self.kind != "azure"

    @property
    def key_holders(self) -> tuple[str, ...]:
        """Namespaces that need the Secret with the keys. On EKS MLflow surely has its identity."""
        without = names.MLFLOW_NAMESPACE if self.pod_identity == "eks" else None
        return tuple(namespace for namespace in self.readers if namespace != without)


def resolve_bucket(object_store: ObjectStore, cluster: ClusterSettings, addresses: Addresses) -> Bucket | None:
    """Return the bucket of the stack, None where volumes do."""
    if object_store.kind == "none":
        return None
    endpoints = {"in-cluster": OWN_STORE.url, "gcs": "https://storage.googleapis.com"}
    readers = [addresses.namespace(names.DATA_STORE)] if addresses.runs(names.DATA_STORE) else []
    readers += [addresses.namespace(names.NEMO_PLATFORM)] if addresses.runs(names.NEMO_PLATFORM) else []
    readers += [addresses.mlflow.namespace] if addresses.mlflow else []
    return Bucket(
        kind=object_store.kind,
        name=object_store.bucket,
        endpoint=object_store.endpoint or endpoints.get(object_store.kind),
        region=object_store.region,
        account=object_store.account,
        secret=None if object_store.kind == "azure" else object_store.secret or names.OBJECT_STORE_SECRET,
        readers=tuple(dict.fromkeys(readers)),
        pod_identity=pod_identity(object_store, cluster) if addresses.mlflow else None,
    )


def pod_identity(object_store: ObjectStore, cluster: ClusterSettings) -> IdentityOf | None:
    """Return the cloud whose identity opens the bucket: its own, on a cluster of its own.

    The agent of EKS Pod Identity is on every cluster that we make; another may lack it.
    """
    if object_store.kind == "gcs" and isinstance(cluster, GkeSettings):
        return "gke"
    if object_store.kind == "azure" and isinstance(cluster, AksSettings):
        return "aks"
    amazons = object_store.kind == "s3" and object_store.endpoint is None
    return "eks" if amazons and isinstance(cluster, EksSettings) and cluster.create else None
