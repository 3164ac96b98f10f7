"""The NeMo Platform: its release, the Secrets that the chart must not choose, and the NIMs that it serves.

NIMs are made known to it by a Job within the cluster, because its API need not be reachable from where Pulumi runs. The
Job is done when each of them is served. What the platform then makes of them is in its own namespace and goes with
that. A Service of ours gives each of them a name that does not depend on the platform's.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.nemo import Nim
from infra.config.nemo_platform import NemoPlatform
from infra.config.network import Observability
from infra.nemo.nim_values import pod_labels
from infra.nemo.nims import wait_s
from infra.nemo.platform_models import registrations
from infra.nemo.platform_values import BUNDLED_SECRET, RELEASE, SMALL, platform_values
from infra.nemo.values import Surroundings
from infra.platform.helm import MINUTES, ChartStore
from infra.platform.passwords import GeneratedPassword
from infra.topology import Topology
from infra.topology.databases import PASSWORD_KEY
from infra.versions import NEMO_PLATFORM, NEMO_PLATFORM_IMAGE

TIMEOUT_S = 20 * MINUTES  # as NVIDIA's installation guide has it
KEY_LENGTH = 48
"""Of the key for the platform's secrets, which must be 32 bytes or more."""
API_URL = f"http://{names.NEMO_PLATFORM.name}:{names.NEMO_PLATFORM.port}"


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """`after`: namespaces, database, bucket, MLflow and prerequisites. `made`: NIMs that are releases of their own."""

    settings: NemoPlatform
    observability: Observability
    nims: tuple[Nim, ...]
    topology: Topology
    charts: ChartStore
    around: Surroundings
    after: Sequence[pulumi.Resource] = ()
    made: Sequence[pulumi.Resource] = ()


class Platform(pulumi.ComponentResource):
    """Secrets, the release, the Job that makes NIMs known, Services of those that the platform deploys."""

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:nemo:Platform", name, None, opts)
        self._args, self._namespace = args, args.topology.addresses.namespace(names.NEMO_PLATFORM)
        release = args.charts.release(
            RELEASE,
            NEMO_PLATFORM,
            namespace=self._namespace,
            values=platform_values(args.settings, args.observability, args.topology, args.around),
            timeout_s=TIMEOUT_S,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*args.after, *self._secrets()]),
        )
        job = self._registration(release)
        for nim in args.nims:
            if nim.deploy == "platform":
                self._service(nim, job)
        self.register_outputs({"namespace": self._namespace})

    def _secrets(self) -> list[pulumi.Resource]:
        """Make the key of the platform's own secrets, which is never another one, and a bundled database's password."""
        below = pulumi.ResourceOptions(parent=self)
        key = GeneratedPassword("platform-encryption", length=KEY_LENGTH, opts=below).value.apply(encoded)
        secrets: list[pulumi.Resource] = [self._secret(names.ENCRYPTION_SECRET, {names.ENCRYPTION_KEY: key})]
        if names.NEMO_PLATFORM.key not in self._args.topology.databases:
            password = GeneratedPassword(BUNDLED_SECRET, opts=below).value
            secrets.append(self._secret(BUNDLED_SECRET, {PASSWORD_KEY: password}))
        return secrets

    def _secret(self, name: str, data: dict[str, pulumi.Output[str]]) -> kubernetes.core.v1.Secret:
        return kubernetes.core.v1.Secret(
            f"{self._namespace}/{name}",
            metadata={"name": name, "namespace": self._namespace},
            string_data=data,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self._args.after)),
        )

    def _registration(self, release: pulumi.Resource) -> pulumi.Resource:
        """Make the NIMs known; anything that changes makes another Job, for a Job cannot be changed."""
        args, within_s = self._args, max(wait_s(nim) for nim in self._args.nims)
        version = args.charts.version(NEMO_PLATFORM)
        wanted = registrations(args.nims, args.topology)
        variables = {
            "NMP_BASE_URL": API_URL,
            "REGISTRATIONS": json.dumps(wanted),
            "DEADLINE_S": str(within_s),
        }
        return kubernetes.batch.v1.Job(
            f"{self._namespace}/{names.NEMO_PLATFORM_MODELS}",
            metadata={"name": names.NEMO_PLATFORM_MODELS, "namespace": self._namespace},
            spec={
                "backoff_limit": 2,
                "template": {
                    "spec": {
                        "restart_policy": "Never",
                        "automount_service_account_token": False,
                        "image_pull_secrets": [{"name": args.around.credentials.pull}],
                        "security_context": {
                            "run_as_non_root": True,
                            "run_as_user": 1000,
                            "seccomp_profile": {"type": "RuntimeDefault"},
                        },
                        "containers": [
                            {
                                "name": "register",
                                "image": f"{NEMO_PLATFORM_IMAGE}:{version}",
                                "command": ["python", "-c", script()],
                                "env": [{"name": key, "value": value} for key, value in variables.items()],
                                "resources": SMALL,
                                "security_context": {
                                    "allow_privilege_escalation": False,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                            }
                        ],
                    }
                },
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[release, *args.made],
                delete_before_replace=True,
                custom_timeouts=pulumi.CustomTimeouts(create=f"{within_s + 5 * MINUTES}s"),
            ),
        )

    def _service(self, nim: Nim, job: pulumi.Resource) -> None:
        """Make a name for a NIM that the platform deploys. Its pods are there before, but may be replaced any time."""
        kubernetes.core.v1.Service(
            f"{self._namespace}/{nim.name}",
            metadata={
                "name": nim.name,
                "namespace": self._namespace,
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec={
                "selector": pod_labels(nim),
                "ports": [{"name": "http", "port": names.NIM_PORT, "target_port": names.NIM_PORT}],
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[job]),
        )


def encoded(password: str) -> str:
    """Write a key as the platform reads it."""
    return base64.b64encode(password.encode()).decode()


def script() -> str:
    """Return the program that the Job runs."""
    return (files("infra.nemo") / "register_models.py").read_text(encoding="utf-8")
