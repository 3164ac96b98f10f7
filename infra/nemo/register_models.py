"""Makes NIMs known to the NeMo Platform, and waits until it serves them. Runs in a pod, in the platform's own image.

REGISTRATIONS is JSON as platform_models.py makes it, NMP_BASE_URL the API within the cluster, DEADLINE_S how long to
wait. Safe to repeat: what exists stays, and a deployment whose config changed is switched to the new one. Ends with 1
and the platform's own words when it refuses something, gives up a deployment, or the time is over.

Only Python's own library: nothing else of this project is in that image.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

PATH = "/apis/models/v2/workspaces/default"
PRINCIPAL = "service:nemostack"
"""Requests within the cluster name their principal themselves; the platform's proxy takes the header from others."""
PAUSE_S = float(os.environ.get("PAUSE_S", "10"))
TIMEOUT_S = 60
READY, GIVEN_UP = "READY", ("ERROR", "LOST", "DELETED")


class PlatformError(Exception):
    """The platform said no, in its own words."""


def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Ask the platform; None for what is not there. Raises PlatformError."""
    request = urllib.request.Request(  # noqa: S310 - of this stack, as the program says
        os.environ["NMP_BASE_URL"] + PATH + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-NMP-Principal-Id": PRINCIPAL},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            told: dict[str, Any] = json.loads(answer.read() or "{}")
            return told
    except urllib.error.HTTPError as error:
        if error.code == 404 and method == "GET":
            return None
        raise PlatformError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}") from None


def ensure(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create it unless it exists, and return it."""
    known = call("GET", f"/{kind}/{body['name']}")
    return known if known is not None else call("POST", f"/{kind}", body) or {}


def register(wanted: dict[str, Any]) -> None:
    """Make one NIM known."""
    ensure("models", wanted["entity"])
    if wanted["kind"] == "provider":
        ensure("providers", wanted["provider"])
        return
    ensure("deployment-configs", wanted["config"])
    deployment = wanted["deployment"]
    known = ensure("deployments", deployment)
    if str(known.get("config", deployment["config"])).rpartition("/")[2] != deployment["config"]:
        call("POST", f"/deployments/{deployment['name']}", {"config": deployment["config"]})


def missing(wanted: dict[str, Any]) -> str:
    """Say what a NIM lacks to be served; empty when nothing. Raises PlatformError for one that was given up."""
    kind, name = wanted["kind"], wanted[wanted["kind"]]["name"]
    known = call("GET", f"/{kind}s/{name}") or {}
    status, why = known.get("status"), known.get("status_message") or "no message"
    if status == READY:
        return ""
    if kind == "deployment" and status in GIVEN_UP:
        raise PlatformError(f"deployment {name} is {status}: {why}")
    return f"{kind} {name} is {status}: {why}"


def main() -> int:
    """Register everything, then wait."""
    wanted = json.loads(os.environ["REGISTRATIONS"])
    deadline = time.monotonic() + float(os.environ["DEADLINE_S"])
    said = ""
    while True:
        try:
            for one in wanted:
                register(one)
            waiting = [lack for one in wanted if (lack := missing(one))]
        except PlatformError as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:  # the API restarts, or its name does not resolve yet
            waiting = [f"the platform does not answer: {error}"]
        if not waiting:
            print(f"{len(wanted)} models are served")
            return 0
        if "; ".join(waiting) != said:
            said = "; ".join(waiting)
            print(said, flush=True)
        if time.monotonic() > deadline:
            print("the time is over", file=sys.stderr)
            return 1
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    sys.exit(main())
