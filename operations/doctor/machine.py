"""The doctor's look at the disk of a local stack: services that cannot write fail in words that do not say so.

Found by the stack's own logs, which lie beside its data. Changes nothing. A stack whose outputs name no log on this
machine has no finding.
"""

import shutil
from pathlib import Path

from nemostack.outputs import StackOutputs
from nemostack.service_checks import STACK, Finding

GB = 1e9
LEAST_BYTES, LITTLE_BYTES = 200_000_000, 2_000_000_000
"""Below the first services fail; below the second a run may not get to its end."""


def look(outputs: StackOutputs) -> list[Finding]:
    """Look at the space that is left where the stack keeps its data."""
    logs = [Path(command[-1]) for command in outputs.log_commands.values()]
    data = next((log.parent.parent / "data" for log in logs if (log.parent.parent / "data").is_dir()), None)
    if data is None:
        return []
    space = shutil.disk_usage(data)
    evidence = f"{space.free / GB:.1f} of {space.total / GB:.1f} GB free in {data}"
    if space.free >= LITTLE_BYTES:
        return [Finding(service="Machine", check="disk", level="ok", evidence=evidence)]
    full = space.free < LEAST_BYTES
    fix = "free some space there, or move the stack's data (local.data_dir)"
    if full:
        fix += f"; then `nemostack up {STACK}`: services that could not write may have ended"
    return [Finding(service="Machine", check="disk", level="bad" if full else "warn", evidence=evidence, fix=fix)]
