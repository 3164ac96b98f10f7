"""All namespaces of a stack, each with its Pod Security labels, default requests, and Secrets of credentials.

Pod Security: `security.pod_security` is enforced where a chart can meet it. The NeMo services' pods cannot meet
`restricted` (their init containers set no security context, the Evaluator's migration runs as root), nor can those of
the NIM operator (version 3.1.2 sets no seccomp profile and no security context of containers), so `baseline` is the
most that is enforced there; `restricted` is warned about and audited everywhere.

Namespaces that exist before the stack (`namespaces.adopt`) are verified and given the same labels, which are taken back
when the stack goes; the namespaces stay. A label that somebody else has set to another value stops the run.
Refuses nothing by itself: that credentials are there was checked with the settings.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.nemo import Nim
from infra.config.network import Security
from infra.config.platform import Credentials
from infra.platform.credentials import CredentialNames, credential_names, docker_config, required_secrets
from infra.topology import Topology

REQUESTS = {"cpu": "50m", "memory": "128Mi"}
"""What a container requests that says nothing itself, e.g. the Customizer, whose chart has no value for it."""


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """`adopted`: namespaces that exist before the stack. `secrets`: the secret settings that have a value."""

    topology: Topology
    security: Security
    nims: Sequence[Nim]
    adopted: Collection[str]
    credentials: Credentials
    secrets: Mapping[str, pulumi.Output[str]]


def pod_security(topology: Topology, security: Security, nims: Sequence[Nim]) -> dict[str, str]:
    """Namespace -> Pod Security level that is enforced there."""
    level, addresses = security.pod_security, topology.addresses
    below_restricted = {addresses.namespace(service) for service in addresses.running}
    below_restricted |= {addresses.namespace(nim) for nim in nims if nim.deploy == "operator"}
    levels = {
        namespace: "baseline" if level == "restricted" and namespace in below_restricted else level
        for namespace in addresses.namespaces
    }
    return {**topology.foundation, **levels}


def labels(level: str) -> dict[str, str]:
    """Labels of a namespace with a Pod Security level; less than `restricted` is warned about and audited."""
    prefix = "pod-security.kubernetes.io"
    modes = {"enforce": level, "warn": "restricted", "audit": "restricted"}
    if level == "privileged":
        modes = dict.fromkeys(modes, level)  # host access is the purpose there: a warning a pod would be noise
    return {f"{prefix}/{mode}": value for mode, value in modes.items()} | {"app.kubernetes.io/part-of": "nemostack"}


Contents = dict[str, tuple[str, dict[str, pulumi.Output[str]]]]


def contents(credentials: Credentials, secrets: Mapping[str, pulumi.Output[str]]) -> Contents:
    """Secret that we make -> its type and data. Nothing for one that the user names: it is there already."""
    secret_contents = Contents()
    if key := secrets.get("ngc_api_key"):
        if not credentials.ngc_secret:
            secret_contents[names.NGC_SECRET] = ("Opaque", {names.NGC_KEY: key})
        if not credentials.image_pull_secret:
            pull = {".dockerconfigjson": key.apply(docker_config)}
            secret_contents[names.PULL_SECRET] = ("kubernetes.io/dockerconfigjson", pull)
    if (token := secrets.get("hf_token")) and not credentials.hf_secret:
        secret_contents[names.HF_SECRET] = ("Opaque", {names.HF_KEY: token})
    return secret_contents


class Namespaces(pulumi.ComponentResource):
    """Namespaces, a LimitRange in those of services and NIMs, and Secrets of credentials.

    `of`: namespace -> its resource. `inside`: namespace -> all that is made here of it, for what comes into it.
    """

    of: dict[str, pulumi.Resource]
    inside: dict[str, list[pulumi.Resource]]
    credentials: CredentialNames

    def __init__(self, name: str, args: NamespacesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Namespaces", name, None, opts)
        levels, addresses = pod_security(args.topology, args.security, args.nims), args.topology.addresses
        self.credentials = credential_names(args.credentials, args.secrets)
        self.of = {
            namespace: self._namespace(namespace, level, adopted=namespace in args.adopted)
            for namespace, level in levels.items()
        }
        self.inside = {namespace: [secret_contents] for namespace, secret_contents in self.of.items()}
        for namespace in addresses.namespaces:
            self.inside[namespace].append(
                kubernetes.core.v1.LimitRange(
                    f"{namespace}/requests",
                    metadata={"name": "requests", "namespace": namespace},
                    spec={"limits": [{"type": "Container", "default_request": REQUESTS}]},
                    opts=self._inside(namespace),
                )
            )
        secret_contents = contents(args.credentials, args.secrets)
        for namespace, secret_names in required_secrets(addresses, self.credentials).items():
            for secret in secret_names:
                if content := secret_contents.get(secret):
                    kind, data = content
                    self.inside[namespace].append(
                        kubernetes.core.v1.Secret(
                            f"{namespace}/{secret}",
                            metadata={"name": secret, "namespace": namespace},
                            type=kind,
                            string_data=data,
                            opts=self._inside(namespace),
                        )
                    )
        self.register_outputs({"namespaces": sorted(self.of)})

    def _namespace(self, name: str, level: str, *, adopted: bool) -> pulumi.Resource:
        """Make a namespace, or label one that is there.

        A patch would make one that is not there, so an adopted one is read first. If it is missing, the message shows
        the name of the resource that reads it, so that is the setting.
        """
        level_labels, below = labels(level), pulumi.ResourceOptions(parent=self)
        if not adopted:
            return kubernetes.core.v1.Namespace(name, metadata={"name": name, "labels": level_labels}, opts=below)
        namespace = kubernetes.core.v1.Namespace.get(f"namespaces.adopt.{name}", name, below)
        return kubernetes.core.v1.NamespacePatch(
            name,
            metadata=kubernetes.meta.v1.ObjectMetaPatchArgs(name=name, labels=level_labels),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace]),
        )

    def _inside(self, namespace: str) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[self.of[namespace]])
