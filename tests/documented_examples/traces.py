"""What examples leave on a platform, so that each page, and each way of reading it, begins on the same stack."""

from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

from nemostack.clients.platform import PAGE_SIZE, Platform
from nemostack.errors import ServiceError

Thing = tuple[str, str, str, str]
"""Workspace, service, kind and name."""
KINDS = (
    ("jobs", "jobs"),
    ("inference-gateway", "virtual-models"),
    ("models", "deployments"),
    ("models", "deployment-configs"),
    ("models", "adapters"),
    ("models", "providers"),
    ("models", "models"),
    ("models", "prompts"),
    ("files", "filesets"),
    ("secrets", "secrets"),
    ("guardrails", "configs"),
    ("entities", "projects"),
)
"""What there can be in a workspace, in the order in which it can be deleted."""
_WORKSPACES = "/apis/entities/v2/workspaces"
_NONE = "", "", "workspaces"


def look(platform: Platform) -> set[Thing]:
    """List everything that is there."""
    return set(_things(platform))


def _things(platform: Platform) -> Iterator[Thing]:
    for workspace in _names(platform, _WORKSPACES):
        yield (*_NONE, workspace)
        for service, kind in KINDS:
            path = f"/apis/{service}/v2/workspaces/{quote(workspace)}/{kind}"
            with suppress(ServiceError):  # a service that is not there, or a workspace that is just going
                for name in _names(platform, path):
                    yield workspace, service, kind, name


def _names(platform: Platform, path: str) -> list[str]:
    names: list[str] = []
    while True:
        query = {"page": len(names) // PAGE_SIZE + 1, "page_size": PAGE_SIZE}
        rows = platform.call(f"listing {path}", "GET", path, params=query).json()["data"]
        names += [row["name"] for row in rows]
        if len(rows) < PAGE_SIZE:
            return names


def remove_new(platform: Platform, before: set[Thing]) -> list[str]:
    """Delete what was not there before. Returns what could not be deleted, with the reason."""
    new = look(platform) - before
    order = [*KINDS, _NONE[1:]]
    left = []
    for workspace, service, kind, name in sorted(new, key=lambda thing: order.index((thing[1], thing[2]))):
        path = f"/apis/{service}/v2/workspaces/{quote(workspace)}/{kind}/{quote(name)}"
        if not workspace:
            path = f"{_WORKSPACES}/{quote(name)}"
        elif kind == "jobs":
            with suppress(ServiceError):  # it had ended
                platform.call(f"cancelling {name}", "POST", f"{path}/cancel")
        try:
            platform.call(f"deleting {name}", "DELETE", path)
        except ServiceError as error:
            if error.status != 404:  # its workspace, its model or its deployment took it along
                left.append(f"{workspace}/{kind}/{name}: {error}")
    return left
