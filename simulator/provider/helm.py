"""The helm binary: one command at a time per slot, values by standard input, failures as one readable message.

In the official plugin Helm is a library. So here helm dies with the plugin, however that ends, and leaves its release
`pending-install` or `pending-upgrade`; a command that is cancelled in order marks it as failed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simulator.processes import DIES_WITH_PARENT
from simulator.provider.kubeconfig import Kubeconfig

# What the command line puts before the words of the library.
PREFIXES = re.compile(r"^(Error: )?((INSTALLATION|UPGRADE) FAILED: )?")
SLOTS = 8  # helm takes about 100 MB while it runs
GRACE = 60.0  # seconds helm may take beyond its own timeout


class HelmError(Exception):
    """A helm command failed; the message is what helm said last."""


class Helm:
    """Runs helm against one cluster."""

    def __init__(self, kubeconfig: Kubeconfig | None, cancelled: threading.Event, folder: Path) -> None:
        """Keep what helm keeps, and a kubeconfig that is no file, in `folder`, which is the caller's to remove."""
        self._binary = shutil.which("helm")
        self._slots = threading.BoundedSemaphore(SLOTS)
        self._cancelled = cancelled
        self.folder = home = folder
        self._environment = os.environ | {
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
        }
        if kubeconfig:
            path = kubeconfig.path
            if path is None:
                path = home / "kubeconfig"
                path.touch(mode=0o600)
                path.write_text(kubeconfig.content)
            self._environment |= {"KUBECONFIG": str(path.resolve()), "HELM_KUBECONTEXT": kubeconfig.context}

    def run(
        self,
        arguments: Iterable[str],
        *,
        values: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        timeout: float = 300,
    ) -> str:
        """Run one helm command and return its output; values are passed as a file on standard input.

        Raises HelmError with helm's own message if it fails, takes `timeout` seconds or is cancelled.
        """
        if not self._binary:
            raise HelmError("the helm program is not on PATH")
        command = [self._binary, *arguments, *(["--values", "-"] if values is not None else [])]
        with self._slots:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment | (environment or {}),
            )
            threading.Thread(target=self._interrupt, args=(process,), daemon=True).start()
            try:
                output, errors = process.communicate("" if values is None else json.dumps(values), timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise HelmError(f"helm {command[1]} did not end within {timeout:.0f} s") from None
        if process.returncode:
            text = f"{output}\n{errors}" if command[1] == "repo" else errors  # which says only there what went wrong
            lines = [line for line in text.splitlines() if line and not line.startswith(("WARNING:", "level="))]
            message = PREFIXES.sub("", "\n".join(lines))
            raise HelmError(message or f"helm {command[1]} ended with exit code {process.returncode}")
        return output

    def _interrupt(self, process: "subprocess.Popen[str]") -> None:
        """Pass a cancelled update on: helm then marks the release as failed, which the next update can mend."""
        while process.poll() is None:
            if self._cancelled.wait(0.5):
                process.terminate()
                return
