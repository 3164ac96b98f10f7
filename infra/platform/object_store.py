"""The bucket for files of the Data Store and artifacts of MLflow: in the cluster, or access to one elsewhere.

In the cluster it is SeaweedFS on one volume: one server, which is enough for trials and small teams; for anything
dear take a store of the cloud. (MinIO, the usual choice, no longer publishes images.) Only its S3 port asks for keys,
so that the network policies of its namespace are part of its lock. Elsewhere nothing is made but the Secrets with the
keys of the settings; with a Secret of yours, or on Azure, not even those.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.platform import ObjectStore as ObjectStoreSettings
from infra.platform.helm import ChartStore
from infra.platform.operators import resources
from infra.platform.passwords import GeneratedPassword
from infra.topology import bucket as bucket_keys
from infra.topology.bucket import Bucket
from infra.versions import SEAWEEDFS

CONFIG_SECRET = "object-store-config"  # noqa: S105 - a Secret's name
CONFIG_KEY = "seaweedfs_s3_config"
ACCESS_KEY = "nemostack"
SECRET_KEY_LENGTH = 40
USER = 1000
KEYS = ("object_store_access_key", "object_store_secret_key")


@dataclass(frozen=True, kw_only=True)
class ObjectStoreArgs:
    """`secrets`: the secret settings that have a value. `storage_class`: None is the cluster's default."""

    settings: ObjectStoreSettings
    bucket: Bucket | None
    charts: ChartStore
    secrets: Mapping[str, pulumi.Output[str]]
    storage_class: str | None = None
    after: Sequence[pulumi.Resource] = ()


class ObjectStore(pulumi.ComponentResource):
    """SeaweedFS where wanted, and Secrets with the keys. `ready`: the bucket and the Secrets that open it."""

    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: ObjectStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:ObjectStore", name, None, opts)
        self.args, self.ready = args, []
        object_store = args.settings
        if object_store.kind == "in-cluster":
            secret_key = GeneratedPassword(
                "object-store-secret-key", length=SECRET_KEY_LENGTH, opts=pulumi.ResourceOptions(parent=self)
            ).value
            self.ready = [self._server(secret_key), *self._keys(pulumi.Output.from_input(ACCESS_KEY), secret_key)]
        elif object_store.kind in ("s3", "gcs") and object_store.secret is None:
            self.ready = self._keys(*(args.secrets[key] for key in KEYS))
        self.register_outputs({})

    def _server(self, secret_key: pulumi.Output[str]) -> pulumi.Resource:
        settings = self.args.settings
        content = secret_key.apply(lambda key: json.dumps(s3_users(settings.bucket, key)))
        identity = self._secret(names.OBJECT_STORE_NAMESPACE, CONFIG_SECRET, {CONFIG_KEY: content})
        return self.args.charts.release(
            names.OBJECT_STORE,
            SEAWEEDFS,
            namespace=names.OBJECT_STORE_NAMESPACE,
            values=seaweedfs_values(settings, self.args.storage_class),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[identity, *self.args.after]),
        )

    def _keys(self, access_key: pulumi.Output[str], secret_key: pulumi.Output[str]) -> list[pulumi.Resource]:
        content = {bucket_keys.ACCESS_KEY: access_key, bucket_keys.SECRET_KEY: secret_key}
        holders = self.args.bucket.key_holders if self.args.bucket else ()
        return [self._secret(namespace, names.OBJECT_STORE_SECRET, content) for namespace in holders]

    def _secret(self, namespace: str, name: str, content: dict[str, pulumi.Output[str]]) -> kubernetes.core.v1.Secret:
        return kubernetes.core.v1.Secret(
            f"{namespace}-{name}",
            metadata={"name": name, "namespace": namespace},
            string_data=content,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )


def s3_users(bucket: str, secret_key: str) -> dict[str, Any]:
    """SeaweedFS's S3 users: one, for one bucket."""
    may = [f"{action}:{bucket}" for action in ("Admin", "Read", "Write", "List", "Tagging")]
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": secret_key}]
    return {"identities": [{"name": ACCESS_KEY, "credentials": credentials, "actions": may}]}


def seaweedfs_values(settings: ObjectStoreSettings, storage_class: str | None) -> dict[str, Any]:
    """Values of seaweedfs: all its parts in one pod, keys required, the bucket made by the chart's hook."""
    pod = {
        "enabled": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"enabled": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    data: dict[str, Any] = {"type": "persistentVolumeClaim", "size": settings.size}
    if storage_class:
        data["storageClass"] = storage_class
    return {
        "fullnameOverride": names.OBJECT_STORE,
        "global": {
            "seaweedfs": {
                "createClusterRole": False,  # it would let the server create and delete pods everywhere
                "serviceAccountName": names.OBJECT_STORE,
                "automountServiceAccountToken": False,
            }
        },
        "allInOne": {
            "enabled": True,
            "affinity": "",
            "serviceAccountName": names.OBJECT_STORE,
            "data": data,
            "s3": {
                "enabled": True,
                "port": names.OBJECT_STORE_PORT,
                "enableAuth": True,
                "existingConfigSecret": CONFIG_SECRET,
                "createBuckets": [{"name": settings.bucket}],
                "createBucketsHook": {"resources": resources("50m", "64Mi", "256Mi")},
            },
            "resources": resources("250m", "512Mi", "2Gi"),
            "podSecurityContext": pod,
            "containerSecurityContext": container,
        },
        "master": {"enabled": False},
        "volume": {"enabled": False},
        # the hook that makes the bucket has its security from here
        "filer": {"enabled": False, "podSecurityContext": pod, "containerSecurityContext": container},
    }
