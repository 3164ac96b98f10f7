"""Registries and repositories whose images were taken away, with their successors. Knows nothing of a cluster."""

import re
from dataclasses import dataclass

DOCKER_HUB = re.compile(r"^(?:(?:docker\.io|index\.docker\.io|registry-1\.docker\.io)/)?")


@dataclass(frozen=True)
class Withdrawn:
    """What images begin with, since when they are gone, who says so, and what replaces them."""

    prefix: str
    since: str
    source: str
    successor: str


WITHDRAWN = (
    Withdrawn(
        "bitnami/",
        "2025-09-29",
        "github.com/bitnami/charts/issues/35164",
        "use CloudNativePG, an external database, or bitnamilegacy/*",
    ),
    Withdrawn(
        "gcr.io/kubebuilder/",
        "2026-03-06",
        "github.com/kubealex/k8s-mediaserver-operator/issues/115",
        "take the same tag from registry.k8s.io/kubebuilder/",
    ),
    Withdrawn(
        "k8s.gcr.io/",
        "2023-04-03",
        "kubernetes.io/blog/2023/02/06/k8s-gcr-io-freeze-announcement",
        "take the same image from registry.k8s.io/: the old registry is frozen",
    ),
)


def withdrawn(image: str) -> Withdrawn | None:
    """Return why an image cannot be pulled any more, None where nothing is known against it."""
    name = DOCKER_HUB.sub("", image)
    return next((one for one in WITHDRAWN if name.startswith(one.prefix)), None)
