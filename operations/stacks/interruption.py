"""An interrupted command on a stack that is not on this machine: what was half done, and the commands out of it.

Pulumi knows which operations had begun. What became of a Helm release only Helm knows, so it is asked where the cluster
of the stack's outputs answers. Decides and repairs nothing: things in a cloud cost money and hold data.
"""

from collections.abc import Collection, Iterable, Sequence

from nemostack.errors import ServiceError, TargetError
from nemostack.kubectl.client import Kubectl
from nemostack.outputs import StackOutputs
from operations.helm_releases import Release, read_releases

KUBECTL_S = 20.0
RELEASE = "kubernetes:helm.sh/v3:Release"


def half_done_releases(outputs: StackOutputs, pending: Collection[str]) -> list[Release] | None:
    """Return the releases of a stack that Helm has begun and not ended.

    The releases of operations that are `pending` belong to it, wherever they are. None where nobody can say: the
    cluster does not answer.
    """
    begun = {operation.rpartition("::")[2] for operation in pending}
    if outputs.cluster is None:
        return None
    try:
        with Kubectl.opened(outputs) as kubectl:
            releases = read_releases(kubectl, timeout_s=KUBECTL_S)
    except (ServiceError, TargetError):
        return None
    known = outputs.cluster.namespaces
    return [
        one
        for one in releases
        if one.is_half_done and (one.namespace in known or begun & {one.name, f"{one.namespace}/{one.name}"})
    ]


def message(stack: Sequence[str], pending: Sequence[str], releases: Sequence[Release] | None) -> str:
    """Tell what was interrupted and what to do. `stack`: its name and further arguments for Pulumi."""
    lines = [f"an earlier command on stack {stack[0]} was interrupted, and nothing was done now."]
    if pending:
        lines += ["These operations had begun, and Pulumi does not know their outcome:", *indented(pending)]
    if releases:
        lines += ["Helm has begun and not ended:", *indented(map(str, releases))]
    if releases is None and pending:
        lines += [
            "Helm could not be asked about the releases. Look at `helm list -A --pending` first: pending-install wants",
            "`helm uninstall`, pending-upgrade `helm rollback` to the last deployed revision (docs/operations.md).",
        ]
    if pending:
        lines.append("Check whether the other resources exist: the refresh asks about each of them.")
    refresh = f"nemostack toolchain run -- pulumi refresh -s {' '.join(stack)}"
    commands = [*(one.way_out for one in releases or ()), refresh]
    lines += ["Run in this order, then the same command again (docs/operations.md tells why):", *indented(commands)]
    return "\n".join(lines)


def indented(lines: Iterable[str]) -> list[str]:
    """Indent lines that belong to the one before."""
    return [f"  {line}" for line in lines]
