"""The arguments with which each component of the control plane is started. Nothing here starts anything.

Only what a test needs differs from the defaults: loopback, no leader election (there is one of each), no fsync in
etcd (its data dies with it), and clients of the API that need not wait for their turn.
"""

from dataclasses import dataclass
from pathlib import Path

# Nodes renew their lease four times in this time. A kubelet's 40 s would be 100 writes a second with a thousand nodes;
# simulated nodes do not die, so the node controller may be patient.
NODE_LEASE_S = 600
NODE_GRACE_S = 2 * NODE_LEASE_S
CONTROLLER_QPS = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True, kw_only=True)
class Files:
    """What the components share: the authority, etcd's and the server's certificate (NAME.crt, NAME.key), tokens."""

    certificates: Path
    data: Path

    def crt(self, name: str) -> str:
        """Path of a certificate."""
        return str(self.certificates / f"{name}.crt")

    def key(self, name: str) -> str:
        """Path of a private key."""
        return str(self.certificates / f"{name}.key")


def etcd(files: Files, *, url: str, peer_url: str) -> list[str]:
    """Only who has a certificate of the authority may speak to it."""
    return [
        f"--data-dir={files.data}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--cert-file={files.crt('etcd')}",
        f"--key-file={files.key('etcd')}",
        "--client-cert-auth",
        f"--trusted-ca-file={files.crt('ca')}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        f"--peer-cert-file={files.crt('etcd')}",
        f"--peer-key-file={files.key('etcd')}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={files.crt('ca')}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(files: Files, *, port: int, etcd_url: str) -> list[str]:
    """Admission plugins are the default ones: Pod Security, service accounts, quotas, default storage class ..."""
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        # There is no network in which the Service `kubernetes` could have an endpoint: loopback is not allowed as one.
        "--endpoint-reconciler-type=none",
        "--advertise-address=127.0.0.1",  # else it looks for a default route, and ends without one
        f"--etcd-servers={etcd_url}",
        f"--etcd-cafile={files.crt('ca')}",
        f"--etcd-certfile={files.crt('etcd')}",
        f"--etcd-keyfile={files.key('etcd')}",
        f"--tls-cert-file={files.crt('kube-apiserver')}",
        f"--tls-private-key-file={files.key('kube-apiserver')}",
        f"--client-ca-file={files.crt('ca')}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={files.key('service-accounts')}",
        f"--service-account-key-file={files.certificates / 'service-accounts.pub'}",
        "--service-cluster-ip-range=10.96.0.0/16",
    ]


def controller_manager(files: Files, *, kubeconfig: Path) -> list[str]:
    """All controllers that run by default, each as its own service account."""
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        f"--service-account-private-key-file={files.key('service-accounts')}",
        f"--root-ca-file={files.crt('ca')}",
        "--use-service-account-credentials=true",
        f"--node-monitor-grace-period={NODE_GRACE_S}s",
        *CONTROLLER_QPS,
    ]


def scheduler(*, kubeconfig: Path) -> list[str]:
    """The default scheduler with its default plugins."""
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0", *CONTROLLER_QPS]


def kwok(*, kubeconfig: Path, stages: list[Path]) -> list[str]:
    """Plays every node there is."""
    return [
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=true",
        "--node-port=0",
        f"--node-lease-duration-seconds={NODE_LEASE_S}",
        *(f"--config={path}" for path in stages),
    ]
