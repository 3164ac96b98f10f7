"""One load test from pods of the stack's cluster: start, follow, fetch, remove.

The master's pod is sent the options and files of the run, and its samples are fetched, by `kubectl exec`; the report is
made here, as for a run from this machine. Everything is removed at the end, also after a failure or Ctrl-C. The first
Ctrl-C ends the load and its report follows; a second one gives the run up. What a machine that died leaves behind,
Kubernetes removes (objects.py).
"""

import json
import os
import secrets
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from load_tests import run_folder
from load_tests.cluster import objects, pod
from load_tests.cluster.objects import Object, Place
from load_tests.cluster.observation import Sight, look, refusal, spoken
from load_tests.cluster.request import CONNECT_S, Fleet, Request, request_from
from load_tests.options import api_key
from nemostack.errors import (
    BadInput,
    DeadlineExceeded,
    Forbidden,
    JobFailed,
    NemostackError,
    NotFound,
    ServiceError,
)
from nemostack.kubectl.client import Kubectl
from nemostack.redact import redact
from nemostack.version import VERSION

POLL_S = 2.0
START_S = 600.0
PATIENCE_S: Final = 120.0
"""How long the cluster may not answer."""
REMOVE_S: Final = 90
TRANSFER_S: Final = 1800.0
_ATTEMPTS: Final = 3
_POD: Final = ("python", "-m", "load_tests.cluster.pod")


def run(fleet: Fleet, arguments: Sequence[str], *, journey: Path | None = None) -> int:
    """Run a load test in the cluster; returns its exit code, which is the verdict's."""
    request = request_from(fleet, arguments, os.environ, journey=journey is not None)
    run_folder.refuse_used(request.out)
    packed, key = request.packed(), api_key(request.outputs.inference_url)
    place = Place(
        name=f"nemostack-load-{secrets.token_hex(3)}",
        namespace=request.namespace,
        image=fleet.image,
        workers=fleet.workers,
        pull_secret=fleet.pull_secret,
        has_key=key is not None,
        has_journey=journey is not None,
    )
    with Kubectl.opened(request.outputs) as kubectl:
        pods = Pods(kubectl, place)
        try:
            pods.start(packed, key=key, journey=journey.read_text(encoding="utf-8") if journey else None)
            ended = pods.follow()
            if ended.samples:
                pods.fetch(request.out)
        finally:
            pods.remove()
    if not ended.samples:
        return ended.exit_code or 1
    return _conclude(request, ended.exit_code)


def _conclude(request: Request, code: int | None) -> int:
    try:
        request.take_home()
    except (OSError, ValidationError) as error:
        raise BadInput(
            f"the manifest that came back to {request.out} cannot be read: is the image of this version of nemostack, "
            f"{VERSION}? {error}"
        ) from error
    verdict = run_folder.conclude(request.out)
    return verdict if code in run_folder.VERDICTS else (code or verdict)


@dataclass(frozen=True, slots=True)
class State:
    """What the master's pod says."""

    version: str
    exit_code: int | None
    said: str
    offset: int
    samples: bool
    manifest: bool


class Pods:
    """The pods of one load test, from their making to their end."""

    def __init__(self, kubectl: Kubectl, place: Place) -> None:
        self._kubectl, self._place = kubectl, place
        self._master = ""
        self._offset = 0
        self._said = ""
        self._known: set[str] = set()
        self._lost: set[str] = set()
        self._answered_at = time.monotonic()

    def start(self, packed: bytes, *, key: str | None, journey: str | None) -> None:
        """Make everything, and tell the master what to do. Raises NemostackError."""
        place = self._place
        _say(f"load from {place.workers} pods in namespace {place.namespace}, image {place.image} ({place.name})")
        owner = self._kubectl.create(objects.master_job(place))
        for made in objects.helpers(place, key=key, journey=journey):
            self._kubectl.create(objects.owned_by(owner, made))
        self._master = self._await_master()
        self._execute("put", given=packed)
        if (version := self._state().version) != VERSION:
            raise BadInput(f"image {place.image} has nemostack {version}, and this is {VERSION}: build it again")
        self._kubectl.create(objects.owned_by(owner, objects.workers_job(place)))

    def follow(self) -> State:
        """Tell what goes on until the load is over. Raises JobFailed, ServiceError."""
        told = False
        while True:
            try:
                state = self._look()
                if state is not None and state.exit_code is not None:
                    return state
                time.sleep(POLL_S)
            except KeyboardInterrupt:
                if told:
                    raise
                told = True
                _say("interrupted: the load ends, and its report follows; Ctrl-C again gives it up")
                self._execute("stop")

    def fetch(self, out: Path) -> None:
        """Bring manifest and samples into `out`."""
        _say(f"fetching the samples of {self._place.workers} workers")
        out.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _ATTEMPTS + 1):
            with tempfile.TemporaryFile() as file:
                try:
                    command = [*_POD, "get"]
                    self._kubectl.execute(self._place.namespace, self._master, command, into=file, timeout_s=TRANSFER_S)
                    file.seek(0)
                    with tarfile.open(fileobj=file, mode="r:gz") as archive:
                        archive.extractall(out, filter="data")
                except (ServiceError, tarfile.TarError, EOFError, OSError) as error:
                    if attempt == _ATTEMPTS:
                        raise ServiceError(
                            f"fetching the samples from pod {self._master} failed {attempt} times: {error}"
                        ) from error
                    _say(f"fetching failed, trying again: {error}")
                else:
                    return

    def remove(self) -> None:
        """Remove all of it. Says how where that fails, and raises nothing: the run has its own outcome."""
        place = self._place
        command = ["delete", "job", place.master, "-n", place.namespace, "--ignore-not-found"]
        try:
            self._kubectl.run(*command, "--cascade=foreground", f"--timeout={REMOVE_S}s", timeout_s=float(REMOVE_S))
        except NemostackError as error:
            _say(
                f"notice: removing {place.name} failed: {error}. Kubernetes removes it in {_hours()} at the latest; "
                f"`kubectl {' '.join(command)}` does at once"
            )

    # --- what goes on ------------------------------------------------------------------------------------------

    def _await_master(self) -> str:
        """Return the name of the master's pod, once it runs."""
        deadline = time.monotonic() + START_S
        while True:
            pods = self._pods(objects.MASTER)
            sight = look(pods)
            if sight.running:
                return str(next(p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Running"))
            if sight.lost or sight.ended:
                raise JobFailed(self._why_master_ended(sight))
            waiting = sight.waiting or self._refusal(self._place.master)
            self._say_once(f"the master's pod waits: {waiting}" if waiting else "")
            if sight.hopeless or (waiting and not pods):
                raise JobFailed(f"the master's pod cannot start: {waiting}{self._hint(sight)}")
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the master's pod did not run within {START_S:g} s: {waiting or 'no pod'}")
            time.sleep(POLL_S)

    def _look(self) -> State | None:
        """Look at everything once; None where the cluster does not answer, for a while."""
        try:
            master, workers = self._pods(objects.MASTER), self._pods(objects.WORKER)
            sight = look(master)
            if not sight.running:
                raise JobFailed(self._why_master_ended(sight))
            state = self._state()
        except ServiceError as error:
            refused = isinstance(error, Forbidden | NotFound)
            if refused or time.monotonic() - self._answered_at > PATIENCE_S:
                raise
            self._say_once(f"no answer: {error}")
            return None
        self._answered_at = time.monotonic()
        if state.said:
            _say(state.said.rstrip("\n"))
        if state.exit_code is None:
            self._watch(workers, begun=state.samples)
        return state

    def _watch(self, workers: Sequence[Object], *, begun: bool) -> None:
        place, sight, there = self._place, look(workers), {spoken(one) for one in workers}
        lost = sight.lost | dict.fromkeys(self._known - there, "its pod was deleted")
        self._known |= there
        for name, why in lost.items():
            if name not in self._lost:
                self._lost.add(name)
                _say(f"{name} of {place.workers} was lost: {why}")
        if begun:
            return
        if lost:
            raise JobFailed(f"{len(lost)} of {place.workers} workers were lost before the load began")
        waiting = sight.waiting or ("" if workers else self._refusal(place.workers_job))
        if sight.hopeless or (waiting and not workers):
            raise JobFailed(f"the workers cannot start: {waiting}{self._hint(sight)}")
        if waiting:
            self._say_once(f"{sight.running} of {place.workers} workers run (at most {CONNECT_S} s): {waiting}")

    def _why_master_ended(self, sight: Sight) -> str:
        reasons = list(sight.lost.values()) or (["it succeeded"] if sight.ended else ["it is gone"])
        try:
            log = self._kubectl.run("logs", "-n", self._place.namespace, f"job/{self._place.master}", "--tail=3")
        except NemostackError as error:
            log = str(error)
        said = " ".join(log.split())
        return (
            f"the master's pod ended by itself: {reasons[0]}. It said: {said or 'nothing'}. Does "
            f"`python -m load_tests.cluster.pod` of nemostack {VERSION} run in image {self._place.image}?"
        )

    def _hint(self, sight: Sight) -> str:
        if not sight.hopeless:
            return ""
        secret = "" if self._place.pull_secret else ", and does the registry want an --image-pull-secret?"
        return f"; is image {self._place.image} there{secret or '?'}"

    def _refusal(self, job: str) -> str:
        found, _ = self._kubectl.objects(
            ["events"], "-n", self._place.namespace, f"--field-selector=involvedObject.name={job}"
        )
        return refusal(found)

    # --- kubectl -----------------------------------------------------------------------------------------------

    def _pods(self, component: str) -> list[Object]:
        selector = f"{self._place.selector},app.kubernetes.io/component={component}"
        found, refused = self._kubectl.objects(["pods"], "-n", self._place.namespace, "-l", selector)
        if refused:
            raise ServiceError(f"listing the pods of {self._place.name} failed: {refused}")
        return found

    def _execute(self, *command: str, given: bytes = b"") -> bytes:
        limit_s = TRANSFER_S if given else 60.0
        return self._kubectl.execute(
            self._place.namespace, self._master, [*_POD, *command], given=given, timeout_s=limit_s
        )

    def _state(self) -> State:
        answer = self._execute("state", str(self._offset))
        try:
            told: dict[str, Any] = json.loads(answer)
            state = State(**told)
        except (ValueError, TypeError) as error:
            raise ServiceError(
                f"pod {self._master} answered {answer[:200]!r}, which no nemostack {VERSION} says"
            ) from error
        self._offset = state.offset
        return state

    def _say_once(self, text: str) -> None:
        if text and text != self._said:
            self._said = text
            _say(text)


def _hours() -> str:
    return f"{(objects.MOST_S + pod.KEPT_S) / 3600:.0f} hours"


def _say(text: str) -> None:
    print(redact(text), file=sys.stderr, flush=True)
