"""Becomes a service: `python launch.py SPEC.json`. Run by supervisord, in the service's own process group.

Passes on only what a service needs of the environment: the shell that ran `pulumi up` may hold credentials and tokens.
The process records its pid before it turns into the service, so that what it leaves behind can be found.
"""

import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

import psutil

START_MARK = "==> started"  # begins each run in a service's log
PASSED_ON = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "NEMOSTACK_LOG_FORMAT",
    "LANG",
    "LD_LIBRARY_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
}
PASSED_ON_PREFIXES = ("LC_", "XDG_", "HF_", "CUDA_")
NOT_PASSED_ON_SUFFIX = "_TOKEN"  # HF_TOKEN is a secret like any other


def environment(given: dict[str, str], inherited: dict[str, str], needed: Collection[str] = ()) -> dict[str, str]:
    """Make what a service sees: the harmless part of `inherited` and what is `needed` of the rest, then `given`."""
    env = {
        name: value
        for name, value in inherited.items()
        if name in PASSED_ON
        or name in needed
        or (name.startswith(PASSED_ON_PREFIXES) and not name.endswith(NOT_PASSED_ON_SUFFIX))
    }
    return env | given


def main(spec_path: Path) -> None:
    """Turn into the command of the spec: {command, environment, inherits, directory, record}."""
    spec = json.loads(spec_path.read_text())
    Path(spec["record"]).write_text(json.dumps({"pid": os.getpid(), "started": psutil.Process().create_time()}))
    started = f"{START_MARK} {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(spec['command'])}"
    if os.environ.get("NEMOSTACK_LOG_FORMAT") == "json":  # as nemostack.log_lines has it, which is not to be found here
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        started = json.dumps({"time": at, "level": "info", "event": started, "service": spec_path.stem})
    print(started, flush=True)
    os.chdir(spec["directory"])
    env = environment(spec["environment"], dict(os.environ), spec["inherits"])
    os.execve(spec["command"][0], spec["command"], env)  # noqa: S606


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]))
