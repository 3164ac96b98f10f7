"""A kubeconfig as the API client needs it: server, trust, identity, default namespace.

Reads a path or the content itself, as the plugin's `kubeconfig` setting allows. Refuses exec and auth-provider
credentials: nothing in these tests needs a cloud's login helper.
"""

import base64
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(ValueError):
    """The kubeconfig cannot be used; the message says why."""


@dataclass(frozen=True)
class Kubeconfig:
    """One context of a kubeconfig, resolved."""

    server: str
    namespace: str
    verify: ssl.SSLContext
    token: str | None
    content: str
    path: Path | None  # None: given as content; helm then needs a file of its own
    context: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers that identify the user, if the identity is a token."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def load(path_or_content: str, *, context: str = "", cluster: str = "", namespace: str = "") -> Kubeconfig:
    """Resolve one context of a kubeconfig given as path or content.

    Raises KubeconfigError if the file, the context or its parts are missing, or if it needs a login helper.
    """
    path = None if _is_content(path_or_content) else Path(path_or_content).expanduser()
    if path is not None and not path.is_file():
        raise KubeconfigError(f"kubeconfig {path} does not exist")
    content = path_or_content if path is None else path.read_text()
    folder = Path.cwd() if path is None else path.parent
    document = yaml.safe_load(content)
    if not isinstance(document, dict):
        raise KubeconfigError("the kubeconfig is no YAML document with clusters, users and contexts")
    name = context or document.get("current-context") or ""
    chosen = _named(document, "context", name)
    trust = _named(document, "cluster", cluster or chosen.get("cluster", ""))
    user = _named(document, "user", chosen["user"]) if chosen.get("user") else {}
    for helper in ("exec", "auth-provider"):
        if helper in user:
            raise KubeconfigError(f"context {name!r} logs in by {helper}, which the test provider does not support")
    return Kubeconfig(
        server=trust["server"].rstrip("/"),
        namespace=namespace or chosen.get("namespace") or "default",
        verify=_tls(trust, user, folder),
        token=user.get("token"),
        content=content,
        path=path,
        context=name,
    )


def server_of(path_or_content: Any) -> str | None:
    """Return the API server's address in a kubeconfig, None if it cannot be read: enough to see a change of cluster."""
    try:
        return load(path_or_content).server if isinstance(path_or_content, str) and path_or_content else None
    except (KubeconfigError, yaml.YAMLError, OSError, KeyError):
        return None


def _is_content(path_or_content: str) -> bool:
    return "\n" in path_or_content or path_or_content.lstrip().startswith("{")


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    for entry in document.get(f"{kind}s") or []:
        if entry["name"] == name:
            return dict(entry[kind])
    raise KubeconfigError(f"the kubeconfig has no {kind} {name!r}")


def _tls(trust: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    tls = ssl.create_default_context(cadata=_pem(trust, "certificate-authority", folder))
    if trust.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        with _file(certificate) as certfile, _file(key) as keyfile:
            tls.load_cert_chain(certfile, keyfile)
    return tls


def _pem(entry: dict[str, Any], name: str, folder: Path) -> str | None:
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"]).decode()
    return (folder / entry[name]).read_text() if entry.get(name) else None


@contextmanager
def _file(content: str) -> Iterator[str]:
    """OpenSSL takes a client's key only from a file."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(content)
        file.flush()
        yield file.name
