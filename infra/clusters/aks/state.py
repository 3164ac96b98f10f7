"""An AKS cluster as Azure has it, read while the program runs.

A request that changes a pool describes all of it, the number of its nodes included, which is the cluster autoscaler's;
and the version of a control plane cannot be raised together with that of its nodes. So both are read first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pulumi
from pulumi_azure_native import authorization, containerservice

CompletedCall = TypeVar("CompletedCall")


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """An agent pool as it is now."""

    count: int
    version: str
    """Minor version of Kubernetes, e.g. 1.35."""
    zones: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """A cluster as it is now."""

    version: str
    """Minor version of Kubernetes of the control plane."""
    pools: dict[str, PoolState] = field(default_factory=dict)
    """By the name of the agent pool."""


def read_cluster(resource_group: str, name: str, invoke: pulumi.InvokeOptions) -> ClusterState | None:
    """Read a cluster; None where it does not exist yet."""
    cluster = if_found(
        lambda: containerservice.get_managed_cluster(
            resource_group_name=resource_group, resource_name=name, opts=invoke
        )
    )
    if cluster is None:
        return None
    return ClusterState(
        version=minor(cluster.current_kubernetes_version or cluster.kubernetes_version),
        pools={
            profile.name: PoolState(
                count=profile.count or 0,
                version=minor(profile.current_orchestrator_version or profile.orchestrator_version),
                zones=tuple(profile.availability_zones or ()),
            )
            for profile in cluster.agent_pool_profiles or []
        },
    )


def principal_of(role_assignment: str, scope: str, invoke: pulumi.InvokeOptions) -> tuple[str, str] | None:
    """Read whom a role assignment is for: object id and type of the principal; None where it does not exist yet."""
    assignment = if_found(
        lambda: authorization.get_role_assignment(role_assignment_name=role_assignment, scope=scope, opts=invoke)
    )
    return (assignment.principal_id, assignment.principal_type) if assignment else None


def if_found(read: Callable[[], CompletedCall]) -> CompletedCall | None:
    """Return what is read, None where Azure says that there is no such thing (`ResourceNotFound` and its kind)."""
    try:
        return read()
    except Exception as error:
        if "NotFound" in str(error) or "was not found" in str(error):
            return None
        raise


def minor(version: str | None) -> str:
    """Return major and minor version, e.g. 1.35 of 1.35.4."""
    return ".".join((version or "").split(".")[:2])
