"""Access to the bucket: by keys, or by an identity that the cloud gives to pods. Pure.

The Data Store takes keys only. MLflow needs none on GKE and AKS, where annotations of its service account tell, and on
EKS, where an association outside of the cluster does.
"""

from infra import names
from infra.config.clusters import EksSettings
from infra.config.stack import ClusterStackConfig
from infra.platform import endpoints

ARTIFACTS = "mlflow"
"""Folder of MLflow's artifacts in the bucket."""


def eks_pod_identity(config: ClusterStackConfig) -> bool:
    """Whether MLflow gets into the bucket by EKS Pod Identity, whose agent is on every cluster that we make."""
    store, cluster = config.object_store, config.cluster
    amazons = store.kind == "s3" and store.endpoint is None
    return amazons and isinstance(cluster, EksSettings) and cluster.create and config.mlflow.mode == "install"


def key_holders(config: ClusterStackConfig) -> tuple[str, ...]:
    """Namespaces that need the Secret with the bucket's keys."""
    without = names.MLFLOW_NAMESPACE if eks_pod_identity(config) else None
    return tuple(namespace for namespace in endpoints.bucket_readers(config) if namespace != without)
