"""`kubernetes:helm.sh/v3:Release`: a Helm release as a Pulumi resource, by the helm binary.

State: the inputs, `status` and `resourceNames` of the release, and `__inputs` as a secret, as the official plugin
writes it. A release that failed stays in the state with the reason; the next update upgrades it. Helm runs as version 3
inside the official plugin does: client-side apply, and waiting for workloads rather than for every object.

As the official plugin (`helm_release.go`), a refresh reads Helm's own record and never the objects of the release: one
of them that was deleted by hand is not missed. A release of the same name that Pulumi does not know, or that an
interrupted operation left as `pending-install` or `pending-upgrade`, is refused with Helm's words.
"""

import base64
import gzip
import json
import secrets
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import yaml

from simulator.provider import difference, names
from simulator.provider.charts import ChartStore
from simulator.provider.cluster import Cluster
from simulator.provider.difference import Change
from simulator.provider.helm import GRACE, Helm, HelmError
from simulator.provider.objects import Difference, PartialError, ResourceError
from simulator.provider.properties import UNKNOWN, Secret, has_unknowns, plain, with_secrets_of

Json = dict[str, Any]
INPUTS = "__inputs"
OUTPUTS = ("status", "resourceNames")
DEFAULT_TIMEOUT = 300
# Options that change only how helm works, and those that have to be understood; everything else is refused.
FLAGS = {
    "createNamespace": "--create-namespace",
    "skipCrds": "--skip-crds",
    "disableWebhooks": "--no-hooks",
    "renderSubchartNotes": "--render-subchart-notes",
    "disableOpenapiValidation": "--disable-openapi-validation",
    "takeOwnership": "--take-ownership",
    "dependencyUpdate": "--dependency-update",
}
INSTALL_ONLY, UPGRADE_ONLY = ("createNamespace", "skipCrds"), ("cleanupOnFail",)
UNDERSTOOD = frozenset(
    {
        *FLAGS,
        "allowNullValues",
        "atomic",
        "chart",
        "cleanupOnFail",
        "compat",
        "description",
        "maxHistory",
        "name",
        "namespace",
        "repositoryOpts",
        "resetValues",
        "resourceNames",
        "reuseValues",
        "skipAwait",
        "status",
        "timeout",
        "values",
        "version",
        "waitForJobs",
    },
)


@dataclass(frozen=True)
class Releases:
    """Installs, upgrades and uninstalls releases on one cluster."""

    cluster: Cluster
    helm: Helm
    charts: ChartStore

    def check(self, urn: str, old: Json, new: Json) -> tuple[Json, str | None]:
        """Complete the inputs: name, namespace, timeout, the chart's exact version. Returns them and what is wrong."""
        refused = [key for key, value in new.items() if key not in UNDERSTOOD and value]
        if refused:
            return new, f"the test provider does not know the Release options {', '.join(sorted(refused))}"
        inputs = {key: value for key, value in new.items() if value is not None and key not in OUTPUTS}
        if not inputs.get("name"):
            inputs["name"] = plain(old).get("name") or f"{names.logical_name(urn)}-{secrets.token_hex(4)}"
        inputs["namespace"] = inputs.get("namespace") or self.cluster.kubeconfig.namespace
        if not inputs.get("skipAwait"):
            inputs.setdefault("timeout", DEFAULT_TIMEOUT)
        source = {key: inputs.get(key) for key in ("chart", "version", "repositoryOpts")}
        if not has_unknowns(source):
            try:
                inputs["version"] = self.charts.locate(plain(source)).version
            except HelmError as error:
                return inputs, f"{error}; check the chart's name, version and repository"
        return inputs, None

    def diff(self, state: Json, new: Json, ignored: list[str]) -> Difference:
        """Compare the inputs with the release as it was last seen, and with the last inputs for what is not set now.

        A three-way merge, as in the official plugin: what a refresh has taken over from Helm's record is no change.
        """
        old_inputs = _without(plain(state.get(INPUTS) or {}), OUTPUTS)
        wanted = plain(new)
        seen = _without(plain(state), (INPUTS, *OUTPUTS))
        removed = [(path, kind) for path, kind in difference.compare(old_inputs, wanted) if kind == Change.DELETE]
        set_now = [(path, kind) for path, kind in difference.compare(seen, wanted) if kind != Change.DELETE]
        changes: dict[str, Change] = {}
        replaces = []
        for path, kind in [*removed, *set_now]:
            if difference.is_ignored(path, ignored):
                continue
            text = difference.written(path)
            if path[0] in ("name", "namespace"):
                replaces.append(text)
            changes.setdefault(text, kind)
        return Difference(changes, replaces, delete_first=False)

    def create(self, new: Json, *, preview: bool) -> tuple[str, Json]:
        """Install; returns id and state. Raises ResourceError if helm kept nothing, PartialError if it failed."""
        release = plain(new)
        if preview:
            return "", _previewed(new)
        identifier = f"{release['namespace']}/{release['name']}"
        return identifier, self._apply("install", identifier, new)

    def update(self, new: Json, *, preview: bool) -> Json:
        """Upgrade, also a release that failed; returns the state. Raises ResourceError or PartialError."""
        if preview:
            return _previewed(new)
        release = plain(new)
        return self._apply("upgrade", f"{release['namespace']}/{release['name']}", new)

    def _apply(self, action: str, identifier: str, new: Json) -> Json:
        release = plain(new)
        before = self._known(release["name"], release["namespace"])
        try:
            chart = self.charts.locate(release)
            self.helm.run(
                [action, release["name"], str(chart.path), *_arguments(action, release)],
                values=release.get("values") or {},
                timeout=_timeout(release) * 3 + GRACE,  # hooks, installation and jobs may take that long each
            )
        except HelmError as error:
            known = self._known(release["name"], release["namespace"])
            if known is None or (
                before and before["version"] == known["version"]
            ):  # Helm has refused, and done nothing
                raise ResourceError(str(error)) from error
            message = (
                f'Helm release "{identifier}" {"was created, but " if action == "install" else ""}failed to initialize '
                "completely. Use Helm CLI to investigate: failed to become available within allocated timeout. "
                f"Error: Helm Release {identifier}: {error}"
            )
            raise PartialError(identifier, _state(new, known), new, message) from error
        found = self._known(release["name"], release["namespace"])
        if found is None:
            raise ResourceError(f"Helm release {identifier} vanished after its {action}")
        return _state(new, found)

    def _known(self, name: str, namespace: str) -> Json | None:
        """Read the newest revision as helm keeps it (info, version, config, manifest, chart), None if there is none.

        From helm's Secret, where it stands as JSON, packed and encoded: a refresh of many releases starts no process.
        """
        revisions = self.cluster.list("v1", "Secret", namespace, labelSelector=f"owner=helm,name={name}")
        if not revisions:
            return None
        newest = max(revisions, key=lambda revision: int(revision["metadata"]["labels"]["version"]))
        packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
        release: Json = json.loads(gzip.decompress(packed))
        return release

    def read(self, identifier: str, state: Json) -> tuple[str, Json, Json] | None:
        """Read a release for refresh or import; None if it is gone."""
        namespace, name = names.parse_identity(identifier)
        known = self._known(name, namespace or self.cluster.kubeconfig.namespace)
        if known is None:
            return None
        inputs = state.get(INPUTS)
        inputs = inputs.value if isinstance(inputs, Secret) else inputs
        if not inputs:
            about = known["chart"]["metadata"]
            inputs = {"chart": about["name"], "version": about["version"], "name": name, "namespace": namespace}
            inputs |= {"values": known.get("config") or {}, "timeout": DEFAULT_TIMEOUT}
        return identifier, _state(inputs, known, plain(state).get("values")), inputs

    def delete(self, state: Json) -> None:
        """Uninstall and wait until its objects are gone. Raises ResourceError."""
        release = plain(state)
        wait = ["--wait=legacy"] if release.get("atomic") or not release.get("skipAwait") else []
        timeout = _timeout(release)
        arguments = ["--namespace", release["namespace"], "--timeout", f"{timeout:.0f}s", *wait]
        try:
            self.helm.run(["uninstall", release["name"], *arguments], timeout=timeout * 3 + GRACE)
        except HelmError as error:
            raise ResourceError(
                f"Helm release {release['namespace']}/{release['name']} was not removed: {error}"
            ) from error


def _timeout(release: Json) -> float:
    return float(release.get("timeout") or DEFAULT_TIMEOUT)


def _arguments(action: str, release: Json) -> list[str]:
    arguments = ["--namespace", release["namespace"], "--timeout", f"{_timeout(release):.0f}s", "--server-side=false"]
    for key, flag in FLAGS.items():
        if release.get(key) and not (action == "upgrade" and key in INSTALL_ONLY):
            arguments.append(flag)
    if release.get("atomic"):
        arguments.append("--rollback-on-failure")
    if not release.get("skipAwait") or release.get("atomic"):
        arguments += ["--wait=legacy", *(["--wait-for-jobs"] if release.get("waitForJobs") else [])]
    if release.get("description"):
        arguments += ["--description", release["description"]]
    if action == "upgrade":
        for key, flag in (("cleanupOnFail", "--cleanup-on-fail"), ("reuseValues", "--reuse-values")):
            arguments += [flag] if release.get(key) else []
        arguments += ["--reset-values"] if release.get("resetValues") or not release.get("reuseValues") else []
        arguments += ["--history-max", str(release.get("maxHistory") or 0)]
    return arguments


def _previewed(new: Json) -> Json:
    return new | {INPUTS: Secret(new), "status": UNKNOWN, "resourceNames": UNKNOWN}


def _state(inputs: Json, found: Json, values: Json | None = None) -> Json:
    """Return the state of a release; its values are those of Helm's record over `values` (default: the inputs')."""
    about = found["chart"]["metadata"]
    before = plain(inputs).get("values") if values is None else values
    merged = _merged(before or {}, found.get("config") or {})
    seen = plain(inputs) | {"values": merged, "version": about["version"]}
    state: Json = with_secrets_of(seen, inputs)
    status = {
        "appVersion": about.get("appVersion", ""),
        "chart": about["name"],
        "name": found["name"],
        "namespace": found["namespace"],
        "revision": found["version"],
        "status": found["info"]["status"],
        "version": about["version"],
    }
    return state | {INPUTS: Secret(plain(inputs)), "status": status, "resourceNames": _resource_names(found)}


def _resource_names(found: Json) -> dict[str, list[str]]:
    grouped = defaultdict(list)
    for obj in yaml.load_all(found.get("manifest") or "", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if obj:
            grouped[f"{obj['kind']}/{obj['apiVersion']}"].append(names.identity(obj["metadata"]))
    return dict(grouped)


def _merged(below: Json, above: Json) -> Json:
    result = dict(below)
    for key, item in above.items():
        known = result.get(key)
        result[key] = _merged(known, item) if isinstance(known, dict) and isinstance(item, dict) else item
    return result


def _without(value: Json, keys: tuple[str, ...]) -> Json:
    return {key: item for key, item in value.items() if key not in keys}
