"""Proxies of the user's environment: what our own requests must not send through them.

Loopback is this machine, and a proxy is another one: it would look for our services on itself. A SOCKS proxy in
ALL_PROXY is left out, as the HTTP clients used here cannot speak to one and refuse to start; HTTP_PROXY and HTTPS_PROXY
stay as they are, since kubectl and Pulumi read them too. Imports nothing of the project: every entry point uses this.
"""

from collections.abc import Mapping, MutableMapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def exclusions(environ: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY and no_proxy, as some programs read only one: the user's own entries of both, then loopback."""
    given = [entry.strip() for name in ("NO_PROXY", "no_proxy") for entry in environ.get(name, "").split(",")]
    # `*` already means everything, and some programs know it only when it stands alone
    entries = ["*"] if "*" in given else dict.fromkeys([*filter(None, given), *LOOPBACK])
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(entries))


def is_usable(name: str, value: str) -> bool:
    """Whether an HTTP client of ours can start with this variable in its environment."""
    return name.upper() != "ALL_PROXY" or not value.lower().startswith("socks")


def prepare(environ: MutableMapping[str, str]) -> None:
    """Make a process's environment fit its own requests. Called once by each entry point."""
    environ.update(exclusions(environ))
    for name in [name for name, value in environ.items() if not is_usable(name, value)]:
        del environ[name]
