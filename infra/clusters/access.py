"""The moment from which a new administrator may use a new cluster.

Azure makes a role effective minutes after it was assigned. Objects that are made before fail with `forbidden`. This
module asks the API server until it allows what an administrator may do, and gives up after a while.
"""

import asyncio
import tempfile
from pathlib import Path

import pulumi

from nemostack.kubectl.process import Access, NoAnswer, NotInstalled, call, summarize_stderr

MISSING_PLUGIN = "getting credentials: exec: executable"
"""What kubectl says where the program that the kubeconfig names for the login is not installed."""
WITHIN_S = 15 * 60.0
PAUSE_S = 10.0
REQUEST_S = 20.0
CALL_S = 60.0
"""Time for a call with the plugin that fetches a token."""


def is_administrator(kubeconfig: str) -> str | None:
    """Ask the API server whether this program may make namespaces. Returns None if so, else what it said.

    Raises NotInstalled where there is no kubectl. `kubeconfig`: text, without credentials.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubeconfig"
        path.write_text(kubeconfig)
        path.chmod(0o600)
        try:
            arguments = ["auth", "can-i", "create", "namespaces"]
            answer = call(Access(kubeconfig=path), arguments, request_s=REQUEST_S, within_s=CALL_S)
        except NoAnswer as error:
            return str(error)
    return (
        None if answer.code == 0 else summarize_stderr(answer.err) or answer.out.strip() or f"exit code {answer.code}"
    )


async def wait_for_administrator(kubeconfig: str, within_s: float = WITHIN_S, pause_s: float = PAUSE_S) -> str:
    """Return the kubeconfig once its user is an administrator.

    Raises RunError after `within_s` seconds, and at once where the program that logs in is missing.
    """
    if pulumi.runtime.is_dry_run():
        return kubeconfig
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        try:
            refusal = await asyncio.to_thread(is_administrator, kubeconfig)
        except NotInstalled:
            return kubeconfig  # nobody to ask: the first object finds out
        if refusal is None:
            return kubeconfig
        if MISSING_PLUGIN in refusal:
            raise pulumi.RunError(
                f"kubectl cannot log in to the cluster ({refusal}): install it, then run pulumi up again"
            )
        if loop.time() > deadline:
            raise pulumi.RunError(
                f"the cluster does not treat this login as its administrator after {within_s / 60:g} minutes "
                f"({refusal}): check the role assignments of the cluster, then run pulumi up again"
            )
        await asyncio.sleep(pause_s)
