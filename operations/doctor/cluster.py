"""The doctor's look at a cluster: one snapshot, every check, findings in the order of the table.

Refuses nothing: a cluster that does not answer is a finding. A check shows MAX_SHOWN places at most and counts
the rest.
"""

from collections.abc import Callable, Iterator

from nemostack.errors import ServiceError, TargetError
from nemostack.kubectl.client import Kubectl
from nemostack.outputs import StackOutputs
from nemostack.service_checks import Finding
from operations.cluster_snapshot import Snapshot, take
from operations.doctor import containers, control_plane, inventory, network, scheduling
from operations.doctor.check import Check, Evidence

MAX_SHOWN = 8
STATE: tuple[Check, ...] = inventory.CHECKS
FAILURES: tuple[Check, ...] = (*scheduling.CHECKS, *containers.CHECKS, *control_plane.CHECKS, *network.CHECKS)


def look(outputs: StackOutputs, tell: Callable[[str], None]) -> list[Finding]:
    """Look at the cluster of a stack."""
    try:
        with Kubectl.opened(outputs) as kubectl:
            return list(diagnose(take(kubectl, outputs, tell)))
    except ServiceError as error:
        return [_no_answer(error.args[0], error.hint)]
    except TargetError as error:
        return [_no_answer(str(error), "")]


def _no_answer(evidence: str, fix: str) -> Finding:
    check = STATE[0]
    return Finding(service="cluster", check=check.name, level="bad", evidence=evidence, fix=fix or check.fix)


def diagnose(snapshot: Snapshot) -> Iterator[Finding]:
    """Findings of all checks; one line says how many known failures were looked for and not seen."""
    for check in STATE:
        yield from _findings(check, snapshot)
    seen = [(check, list(_findings(check, snapshot))) for check in FAILURES]
    for _check, findings in seen:
        yield from findings
    quiet = sum(not findings for _check, findings in seen)
    yield Finding(
        service="cluster", check="known failures", level="ok", evidence=f"{quiet} of {len(seen)} looked for, not seen"
    )


def _findings(check: Check, snapshot: Snapshot) -> Iterator[Finding]:
    try:
        seen = list(check.look(snapshot))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        seen = [
            Evidence("cluster", f"could not be judged: {type(error).__name__}: {error}", "warn", "please report this")
        ]
    wrong = [one for one in seen if one.level != "ok"]
    for one in [*(one for one in seen if one.level == "ok"), *wrong[:MAX_SHOWN]]:
        fix = "" if one.level == "ok" else one.fix or check.fix
        yield Finding(service=one.where, check=check.name, level=one.level, evidence=one.what, fix=fix)
    if len(wrong) > MAX_SHOWN:
        yield Finding(
            service="cluster",
            check=check.name,
            level="bad" if any(one.level == "bad" for one in wrong[MAX_SHOWN:]) else "warn",
            evidence=f"and {len(wrong) - MAX_SHOWN} more",
            fix=check.fix,
        )
