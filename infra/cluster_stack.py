"""A stack on Kubernetes, from the cluster up to the routes: reads like the order in which things must come."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from infra.config import ClusterStackConfig


@dataclass(frozen=True, kw_only=True)
class ClusterStackArgs:
    """What a stack on Kubernetes is made from. `secrets`: the secret settings that have a value."""

    root: Path
    settings: ClusterStackConfig
    secrets: Mapping[str, pulumi.Output[str]]


class ClusterStack(pulumi.ComponentResource):
    """Everything of a stack on Kubernetes."""

    exports: dict[str, Any]

    def __init__(self, name: str, args: ClusterStackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:cluster:Stack", name, None, opts)
        raise pulumi.RunError(f"target {args.settings.target} is not implemented yet")
