"""Plain Kubernetes objects and custom resources as Pulumi resources.

State of a resource: the live object, plus `__inputs` (what the program set), `__fieldManager` (under which name
server-side apply owns the fields) and `__initialApiVersion`, as the official plugin writes it.
"""

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from simulator.provider import difference, names, readiness
from simulator.provider.cluster import ApiError, Cluster, UnknownKindError
from simulator.provider.engine import Engine
from simulator.provider.properties import Secret, has_unknowns, is_unknown, plain, with_secrets_of

Json = dict[str, Any]
INPUTS, MANAGER, API_VERSION = "__inputs", "__fieldManager", "__initialApiVersion"
DEFAULT_TIMEOUT = 600.0
CREATE_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # an object may come a moment before its namespace or its kind
MANAGERS = "pulumi-kubernetes"  # what each resource's name begins with
OWNER = re.compile(r'conflicts? with "([^"]+)"')
POLL = (0.1, 1.0)  # first and longest pause while waiting, seconds
FORCE = "pulumi.com/patchForce"
FIELD_MANAGER = "pulumi.com/patchFieldManager"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
TIMEOUT = "pulumi.com/timeoutSeconds"


class ResourceError(Exception):
    """The operation failed and left nothing that the state must know."""


class PartialError(Exception):
    """The object exists but is not as it should be: state to keep, and the reasons."""

    def __init__(self, identifier: str, state: Json, inputs: Json, message: str, reasons: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.identifier = identifier
        self.state = state
        self.inputs = inputs
        self.reasons = [message, *reasons]


@dataclass(frozen=True)
class Difference:
    """The answer to "what would change": paths, which of them need a new object, whether the old one must go first."""

    changes: dict[str, difference.Change]
    replaces: list[str]
    delete_first: bool


@dataclass(frozen=True)
class Objects:
    """Creates, reads, updates and deletes objects on one cluster.

    `mutable`: those of Secret and ConfigMap whose content is changed in place. The others are deleted and made anew.
    """

    cluster: Cluster
    engine: Engine
    cancelled: threading.Event
    mutable: frozenset[str] = frozenset()

    def check(self, urn: str, old: Json, new: Json, *, seed: bytes, proposed: str) -> Json:
        """Complete the inputs: a name where there is none, the default namespace where the kind has one."""
        metadata = dict(new.get("metadata") or {}) if not isinstance(new.get("metadata"), Secret) else new["metadata"]
        if isinstance(metadata, Secret) or is_unknown(metadata):
            return new
        old_metadata = plain(old).get("metadata") or {}
        if not metadata.get("name"):
            if metadata.get("generateName"):
                raise ResourceError(f"{urn}: metadata.generateName does not go with server-side apply")
            adopted = old_metadata.get("name") if readiness.annotations(plain(old)).get(names.AUTONAMED) else None
            metadata["name"] = adopted or proposed or names.autoname(names.logical_name(urn), seed)
            metadata["annotations"] = {**(metadata.get("annotations") or {}), names.AUTONAMED: "true"}
        kind = (plain(new["apiVersion"]), plain(new["kind"]))
        self._announce(plain(new))
        if not metadata.get("namespace") and self.cluster.is_namespaced(*kind):
            metadata["namespace"] = self.cluster.kubeconfig.namespace
        return new | {"metadata": metadata}

    def _announce(self, obj: Json) -> None:
        """Remember the kinds of CRDs in the program, so that a preview knows their scope before they exist."""
        if obj["kind"] == "CustomResourceDefinition" and not has_unknowns(obj.get("spec")):
            spec = obj["spec"]
            for version in spec["versions"]:
                kind = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                self.cluster.announced[kind] = spec["scope"] == "Namespaced"

    def diff(self, urn: str, state: Json, new: Json, ignored: list[str]) -> Difference:
        """Compare the live object, cut to what was set last time, with what is set now."""
        live = plain(state)
        before = difference.comparable(_kubernetes(live.pop(INPUTS, {})))
        wanted = difference.comparable(_kubernetes(plain(new)))
        current = difference.normalized(difference.pruned(_kubernetes(live), before))
        as_written = difference.is_compared_as_written(wanted)
        current.setdefault("metadata", {})["name"] = live["metadata"]["name"]
        if self.cluster.is_namespaced(wanted["apiVersion"], wanted["kind"]):
            for obj in (current, wanted):
                obj["metadata"]["namespace"] = obj["metadata"].get("namespace") or "default"
        else:
            for obj in (current, wanted):
                obj["metadata"].pop("namespace", None)
        changes, replaces = {}, []
        for path, kind in difference.compare(current, wanted, as_written=as_written):
            if difference.is_ignored(path, ignored):
                continue
            text = difference.written(path)
            if difference.needs_replacement({} if names.is_patch(urn) else wanted, path, self.mutable):
                replaces.append(text)
            changes[text] = kind
        same = all(current["metadata"].get(key) == wanted["metadata"].get(key) for key in ("name", "namespace"))
        autonamed = readiness.annotations(wanted).get(names.AUTONAMED) == "true"
        return Difference(changes, replaces, delete_first=bool(replaces) and same and not autonamed)

    def create(self, urn: str, new: Json, *, timeout: float, preview: bool) -> tuple[str, Json]:
        """Create an object and wait until it is ready; a preview asks the server without doing it.

        Returns id and state. Raises ResourceError if it was not created, PartialError if it is not ready.
        """
        obj, patch = difference.normalized(_kubernetes(plain(new))), names.is_patch(urn)
        manager = _manager(obj, {})
        if preview:
            return "", new if patch else self._previewed(urn, obj, new, manager)
        try:
            live = self._with_retries(urn, lambda: self._create(obj, manager, patch=patch))
        except UnknownKindError as error:
            raise ResourceError(
                f'creation of resource "{urn}" failed because the Kubernetes API server reported that the apiVersion '
                f"for this resource does not exist. Verify that any required CRDs have been created: {error}"
            ) from error
        except ApiError as error:
            raise ResourceError(_refusal(urn, error)) from error
        head = f'resource "{urn}" was successfully created, but the Kubernetes API server reported that it'
        return self._awaited(urn, new, live, manager, timeout=timeout, head=head)

    def _create(self, obj: Json, manager: str, *, patch: bool) -> Json:
        """Create what is not there yet. A patch is applied to what is there, and makes it where it is not."""
        metadata = obj["metadata"]
        there = (obj["apiVersion"], obj["kind"], metadata.get("namespace"), metadata["name"])
        if not patch and self.cluster.find(*there):
            plural = self.cluster.endpoint(obj["apiVersion"], obj["kind"]).plural
            raise ApiError(
                409, "AlreadyExists", f'{plural} "{metadata["name"]}" already exists; adopt it with `pulumi import`'
            )
        return self.cluster.apply(obj, manager=manager, force=patch and _forced(obj))

    def _with_retries(self, urn: str, action: Callable[[], Json]) -> Json:
        for pause in CREATE_PAUSES:
            try:
                return action()
            except ApiError as error:
                if not error.not_found:
                    raise
                self.engine.status(urn, f"trying again: {error}")
            if self.cancelled.wait(pause):
                break
        return action()

    def _previewed(self, urn: str, obj: Json, new: Json, manager: str) -> Json:
        """Ask the server what would come of it; where it cannot say yet, the inputs are all that is known."""
        if has_unknowns(new):
            return new
        try:
            live = self.cluster.apply(obj, manager=manager, dry_run=True, force=True)
        except ApiError as error:
            if error.not_found or error.code == 403 or "field is immutable" in str(error):  # replacement, in preview
                return new
            raise ResourceError(_refusal(urn, error)) from error
        live.pop("status", None)
        return _state(new, live, manager)

    def _awaited(self, urn: str, new: Json, live: Json, manager: str, *, timeout: float, head: str) -> tuple[str, Json]:
        identifier = names.identity(live["metadata"])
        seconds = timeout or float(readiness.annotations(live).get(TIMEOUT) or DEFAULT_TIMEOUT)
        try:
            live = self._await(urn, live, seconds)
        except _NotReadyError as error:
            message = f"{head} failed to fully initialize or become live: {error}"
            raise PartialError(identifier, _state(new, error.live, manager), new, message, error.reasons) from error
        return identifier, _state(new, live, manager)

    def _await(self, urn: str, live: Json, seconds: float) -> Json:
        deadline, pause, told = time.monotonic() + seconds, POLL[0], None
        while True:
            try:
                lack = readiness.lacking(live, self.cluster)
            except readiness.FailedError as error:
                raise _NotReadyError(live, f"'{live['metadata']['name']}' failed", str(error)) from error
            if lack is None:
                return live
            if lack != told:
                self.engine.status(urn, lack)
                for trouble in readiness.container_troubles(lack):
                    self.engine.warn(urn, trouble)
                told = lack
            if time.monotonic() > deadline:
                raise _NotReadyError(live, f"'{live['metadata']['name']}' timed out waiting to be Ready", lack)
            if self.cancelled.wait(pause):
                name = live["metadata"]["name"]
                raise _NotReadyError(live, f'Resource operation was cancelled for "{name}"', lack)
            pause = min(pause * 1.5, POLL[1])
            metadata = live["metadata"]
            current = self.cluster.find(live["apiVersion"], live["kind"], metadata.get("namespace"), metadata["name"])
            if current is None:
                raise _NotReadyError(live, f"'{metadata['name']}' is gone", "somebody deleted it meanwhile")
            live = current

    def read(self, urn: str, identifier: str, state: Json, inputs: Json) -> tuple[str, Json, Json] | None:
        """Read an object for refresh or import; None if it is gone. Raises PartialError if it is not ready."""
        namespace, name = names.parse_identity(identifier)
        known = plain(inputs) or plain(state).get(INPUTS) or {}
        if known:
            kind = known["apiVersion"], known["kind"]
        else:
            kind = names.api_version_and_kind(names.type_token(urn))
            namespace = namespace or (self.cluster.kubeconfig.namespace if self.cluster.is_namespaced(*kind) else None)
        try:
            live = self.cluster.find(*kind, namespace, name)
        except ApiError as error:
            raise ResourceError(f"{names.type_token(urn)} {identifier} cannot be read: {_told(error)}") from error
        if live is None:
            return None
        if known:
            shape = difference.normalized(_kubernetes(known))
            seen = difference.pruned(live, shape)
            read_inputs = _respelled(seen, shape)
        else:
            read_inputs = difference.normalized(live)
            read_inputs.pop("status", None)
        read_inputs = with_secrets_of(_pulumi(read_inputs), _data_of(inputs or state.get(INPUTS) or {}))
        fresh = _state(read_inputs, live, _manager(live, state))
        if not known:  # what a program only reads, or imports, is taken as it is
            return identifier, fresh, read_inputs
        try:
            lack = readiness.lacking(live, self.cluster)
        except readiness.FailedError as error:
            lack = str(error)
        if lack is not None:
            message = f"Resource '{name}' was created but failed to initialize"
            raise PartialError(identifier, fresh, read_inputs, message, readiness.reported(live, lack))
        return identifier, fresh, read_inputs

    def update(self, urn: str, state: Json, new: Json, *, timeout: float, preview: bool) -> Json:
        """Apply the new inputs and wait; returns the state. Raises ResourceError or PartialError."""
        obj = difference.normalized(_kubernetes(plain(new)))
        manager = _manager(obj, state)
        if preview:
            return self._previewed(urn, obj, new, manager)
        metadata = obj["metadata"]
        try:
            self.cluster.get(obj["apiVersion"], obj["kind"], metadata.get("namespace"), metadata["name"])
            if obj["kind"] == "CustomResourceDefinition":
                live = self.cluster.replace(obj, manager=manager)
            else:
                live = self._apply(obj, manager, force=_forced(obj))
        except ApiError as error:
            raise ResourceError(f'update of resource "{urn}" failed: {_told(error)}') from error
        head = f'the Kubernetes API server reported that "{names.identity(metadata)}"'
        return self._awaited(urn, new, live, manager, timeout=timeout, head=head)[1]

    def _apply(self, obj: Json, manager: str, *, force: bool) -> Json:
        """Apply; fields that an older plugin of Pulumi owns are taken over."""
        try:
            return self.cluster.apply(obj, manager=manager, force=force)
        except ApiError as error:
            owners = OWNER.findall(str(error))
            if error.reason != "Conflict" or not all(owner.startswith(MANAGERS) for owner in owners):
                raise
        return self.cluster.apply(obj, manager=manager, force=True)

    def delete(self, urn: str, state: Json, *, timeout: float) -> None:
        """Delete an object and wait until it is gone. Raises ResourceError if it stays."""
        obj = plain(state)
        if names.is_patch(urn):
            self._give_up(obj)
            return
        notes = readiness.annotations(plain(state.get(INPUTS)) or obj)
        propagation = notes.get(PROPAGATION, "foreground").capitalize()
        metadata, kind = obj["metadata"], (obj["apiVersion"], obj["kind"])
        try:
            self.cluster.delete(obj, propagation=propagation)
            if notes.get(readiness.SKIP) == "true":
                return
            deadline, pause = time.monotonic() + (timeout or DEFAULT_TIMEOUT), POLL[0]
            while live := self.cluster.find(*kind, metadata.get("namespace"), metadata["name"]):
                if live["metadata"].get("uid") != metadata.get("uid", live["metadata"].get("uid")):
                    return  # another object by the same name
                holders = live["metadata"].get("finalizers") or (live.get("spec") or {}).get("finalizers")
                if time.monotonic() > deadline or self.cancelled.wait(pause):
                    raise ResourceError(f"{_title(obj)} is still there; finalizers: {holders}")
                self.engine.status(urn, f"waiting for its deletion; finalizers: {holders}")
                pause = min(pause * 1.5, POLL[1])
        except UnknownKindError:
            return  # its CRD is gone, and all objects of the kind with it
        except ApiError as error:
            raise ResourceError(f"{_title(obj)} was not deleted: {_told(error)}") from error

    def _give_up(self, obj: Json) -> None:
        """Take back the fields of a patch: apply nothing in its name."""
        metadata = {key: obj["metadata"][key] for key in ("name", "namespace") if key in obj["metadata"]}
        try:
            if self.cluster.find(obj["apiVersion"], obj["kind"], metadata.get("namespace"), metadata["name"]):
                bare = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
                self.cluster.apply(bare, manager=obj[MANAGER])
        except ApiError as error:
            raise ResourceError(f"{_title(obj)} keeps the fields of the patch: {_told(error)}") from error


class _NotReadyError(Exception):
    def __init__(self, live: Json, message: str, lack: str) -> None:
        super().__init__(message)
        self.live = live
        self.reasons = readiness.reported(live, lack)


def _title(obj: Json) -> str:
    return f"{obj['kind']} {names.identity(obj['metadata'])}"


def _manager(obj: Json, state: Json) -> str:
    """The name under which fields are owned: as the object says, as it was, or a new one."""
    manager = readiness.annotations(obj).get(FIELD_MANAGER)
    return str(manager or plain(state).get(MANAGER) or f"{MANAGERS}-{secrets.token_hex(4)}")


def _forced(obj: Json) -> bool:
    return readiness.annotations(obj).get(FORCE) == "true"


def _refusal(urn: str, error: ApiError) -> str:
    return f'resource "{urn}" was not successfully created by the Kubernetes API server: {_told(error)}'


def _told(error: ApiError) -> str:
    conflict = (
        f'\nAnother manager owns these fields. Leave them to it, or take them over with the annotation {FORCE}: "true".'
    )
    return f"{error}" + (conflict if error.reason == "Conflict" else "")


def _state(inputs: Json, live: Json, manager: str) -> Json:
    marks = _data_of(inputs)
    state: Json = with_secrets_of(_pulumi(live), marks)
    return state | {INPUTS: inputs, MANAGER: manager, API_VERSION: live["apiVersion"]}


def _data_of(inputs: Json) -> Json:
    """Let the secrets of a Secret's stringData mark its data, where the server puts them."""
    text = inputs.get("stringData")
    if plain(inputs.get("kind")) != "Secret" or text is None:
        return inputs
    data = inputs.get("data")
    if isinstance(text, Secret) or isinstance(data, Secret):
        return inputs | {"data": Secret(plain(data))}
    return inputs | {"data": {**(data or {}), **text}}


def _respelled(value: Any, spelling: Any, path: difference.Path = ()) -> Any:
    """Keep the program's spelling where the server merely writes the same quantity another way."""
    if isinstance(value, dict) and isinstance(spelling, dict):
        return {key: _respelled(item, spelling.get(key), (*path, key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(spelling, list):
        return [_respelled(item, mark, path) for item, mark in zip(value, spelling, strict=False)]
    if spelling is not None and not isinstance(value, dict | list):
        return value if any(difference.compare(value, spelling, path)) else spelling
    return value


def _kubernetes(value: Any) -> Any:
    """Pulumi's classes write `x_kubernetes_*` where Kubernetes has `x-kubernetes-*`."""
    return _renamed(value, "x_kubernetes_", "_", "-")


def _pulumi(value: Any) -> Any:
    return _renamed(value, "x-kubernetes-", "-", "_")


def _renamed(value: Any, prefix: str, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {
            key.replace(old, new) if key.startswith(prefix) else key: _renamed(item, prefix, old, new)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, prefix, old, new) for item in value]
    return value
