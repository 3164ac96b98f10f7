"""What Helm knows of releases, also after an `up` that was killed."""

from collections.abc import Iterator

from simulator.control_plane import ControlPlane


def records(control_plane: ControlPlane) -> Iterator[tuple[str, str, int, str]]:
    """Yield Helm's own records: namespace, release, revision, status."""
    for secret in control_plane.api.items("/api/v1/secrets"):
        label = secret["metadata"].get("labels") or {}
        if label.get("owner") == "helm":
            yield secret["metadata"]["namespace"], label["name"], int(label["version"]), label["status"]


def revisions(control_plane: ControlPlane, namespace: str, release: str) -> dict[int, str]:
    """Return the revisions of a release with their status."""
    found = records(control_plane)
    return {number: status for *place, number, status in found if place == [namespace, release]}
