"""Which values a chart knows, derived from the chart itself: keys and types, nothing of its text.

`python -m simulator.charts.shapes CHART_FOLDER` prints the shape of an unpacked chart (`helm pull --untar`); what
is printed is kept in `shapes/<chart>.yaml`. For nemo-platform a second argument is its configuration reference. A key
counts as known if the default values have it or a template reads it. A shape is a mapping of keys to shapes; a leaf is
one of

    string number bool list   as in the default values
    map                       any keys: empty by default, an object of Kubernetes, chosen by users (see OPEN), or the
                              values of a dependency's dependency
    any                       null by default, or known from a template only

From a shape `schema` makes a JSON schema that refuses unknown keys, which is what the stand-in charts are there for.
"""

import functools
import re
import sys
from pathlib import Path
from typing import Any, cast

import yaml

Shape = dict[str, Any] | str
FOLDER = Path(__file__).parent / "shapes"
# Objects of Kubernetes: the API server checks them.
KUBERNETES = frozenset(
    {
        "affinity",
        "annotations",
        "containerSecurityContext",
        "dnsConfig",
        "labels",
        "livenessProbe",
        "nodeSelector",
        "podAnnotations",
        "podLabels",
        "podSecurityContext",
        "readinessProbe",
        "resources",
        "securityContext",
        "startupProbe",
        "strategy",
        "updateStrategy",
    },
)
# Chart -> paths whose keys users choose, or that no stack of ours sets.
OPEN = {
    "cluster-autoscaler": ("extraArgs",),  # flags of the program
    "nemo-microservices-helm-chart": (
        "auditor",
        "data-designer",
        "intake",
        "safe-synthesizer",
        "studio",
        "virtualService",
        "customizer.customizationTargets.targets",
        "customizer.customizationConfigTemplates.templates",
        "data-store.config",
        "guardrails.configStore.files",
        "guardrails.guardrailsExtProc",
    ),
    "kube-prometheus-stack": (
        "alertmanager",
        "defaultRules",
        "thanosRuler",
        "windowsMonitoring",
        "prometheus-windows-exporter",
        "kube-state-metrics",
        "prometheus-node-exporter",
        "coreDns",
        "kubeApiServer",
        "kubeControllerManager",
        "kubeDns",
        "kubeEtcd",
        "kubeProxy",
        "kubeScheduler",
        "kubelet",
    ),
    "seaweedfs": ("admin", "worker", "cosi", "sftp", "allInOne.s3", "allInOne.sftp", "certificates"),
    "gpu-operator": (
        "vgpuManager",
        "vgpuDeviceManager",
        "vfioManager",
        "kataManager",
        "sandboxDevicePlugin",
        "ccManager",
    ),
}
# Chart -> keys that whoever publishes the copy at hand has added to it.
ADDED = {"nemo-microservices-helm-chart": ("ezua",)}
# Chart -> path -> leaf, where the default says another type than the template takes.
CORRECTED = {
    "gateway-helm": {"config.envoyGateway.extensionManager": "map"},  # the template merges what it does not know
    "nemo-microservices-helm-chart": {
        "core.api.env": "list",
        "core.controller.env": "list",
        "guardrails.externalDatabase.port": "number",
    },
}
S3_FILES = ("bucket", "prefix", "region", "endpoint_url", "signature_version")
REFERENCE_OPEN = KUBERNETES | {"env", "node_selector", "pod_security_context", "plugins", "parallelism", "docker"}
"""Settings of the platform whose keys users choose, are objects of Kubernetes, or that no stack of ours sets."""
REFERENCE = re.compile(r"\.Values((?:\.[A-Za-z_][\w]*)+)")
INDEXED = re.compile(r'index \.Values((?: "[\w.-]+")+)')
TYPES: dict[str, Any] = {
    "string": {"type": ["string", "null", "number"]},
    "number": {"type": ["number", "null", "string"]},  # charts write 8000 and "8000"
    "bool": {"type": ["boolean", "null"]},
    "list": {"type": ["array", "null"]},
    "map": {"type": ["object", "null"]},
    "any": {},
}


def of_chart(folder: Path, opened: set[str], *, nested: bool = False) -> Shape:
    """Return the shape of the chart in a folder, its dependencies under their alias."""
    about, values = yaml.safe_load((folder / "Chart.yaml").read_text()), folder / "values.yaml"
    defaults = (yaml.safe_load(values.read_text()) if values.is_file() else None) or {}
    shape = {key: _of_values(value, key, opened) for key, value in defaults.items()}
    libraries = [path for path in folder.glob("charts/*/") if "type: library" in (path / "Chart.yaml").read_text()]
    for place in (folder, *libraries):
        for template in sorted(place.glob("templates/**/*")):
            if template.is_file():
                _add_references(shape, template.read_text())
    dependencies = about.get("dependencies") or []
    named = {dependency["name"] for dependency in dependencies}
    vendored = [{"name": path.name} for path in folder.glob("charts/*/") if path.name not in named]
    for dependency in [*dependencies, *vendored]:
        key, source = dependency.get("alias") or dependency["name"], folder / "charts" / dependency["name"]
        if source in libraries:
            continue
        if nested or key in opened or not source.is_dir():
            shape[key] = "map"
        else:
            inner = of_chart(source, {path.removeprefix(f"{key}.") for path in opened}, nested=True)
            shape[key] = _merged(inner, shape.get(key, {}))
        for part in (dependency.get("condition") or "").split(","):
            if part:
                _add(shape, part.split("."), "bool")
        for tag in dependency.get("tags") or []:
            _add(shape, ["tags", tag], "bool")
    if nested:
        shape["global"] = "map"  # Helm puts the parent's there
    shape.setdefault("global", "map")
    return shape


def _of_values(value: Any, path: str, opened: set[str]) -> Shape:
    if isinstance(value, dict):
        if path.rsplit(".", 1)[-1] == "env":
            return "any"  # charts take a mapping, a list, or either
        if not value or path in opened or path.rsplit(".", 1)[-1] in KUBERNETES:
            return "map"
        return {key: _of_values(item, f"{path}.{key}", opened) for key, item in value.items()}
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "any" if value is None else "list" if isinstance(value, list) else "string"


def of_reference(text: str) -> Shape:
    """Return the shape of the NeMo Platform's configuration, from its reference (`nemo docs set-up/config-reference`).

    Each section is a block of YAML with defaults. Of files the page shows local storage alone; S3's fields are those of
    `nemo docs set-up/helm/file-storage`.
    """
    sections: dict[str, Any] = {}
    for block in re.findall(r"```yaml wordWrap\n(.*?)```", text, re.DOTALL):
        sections |= yaml.safe_load(block)
    shape = {key: _of_setting(value, key) for key, value in sections.items()}
    files: Any = shape["files"]
    files["default_storage_config"] |= dict.fromkeys(S3_FILES, "string") | {"use_sdk_auth": "bool"}
    return cast("Shape", shape)


def _of_setting(value: Any, key: str) -> Shape:
    if isinstance(value, dict):
        opened = not value or key in REFERENCE_OPEN
        return "map" if opened else {inner: _of_setting(item, inner) for inner, item in value.items()}
    return _of_values(value, key, set())


def _add_references(shape: dict[str, Any], text: str) -> None:
    for match in REFERENCE.findall(text):
        _add(shape, match.strip(".").split("."), "any")
    for match in INDEXED.findall(text):
        _add(shape, re.findall(r'"([^"]+)"', match), "any")


def _add(shape: Shape, path: list[str], leaf: str) -> None:
    """Note a path; what the values say about it is worth more than a mention."""
    if not isinstance(shape, dict):
        return
    if len(path) == 1:
        shape.setdefault(path[0], leaf)
    else:
        if shape.get(path[0]) == "any":
            return
        _add(shape.setdefault(path[0], {}), path[1:], leaf)


def _merged(first: Shape, second: Shape) -> Shape:
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {key: _merged(first[key], item) if key in first else item for key, item in second.items()}
    return first if isinstance(second, dict) and not second else "map" if "map" in (first, second) else second


def of_the_vendor(shape: dict[str, Any], chart: str) -> dict[str, Any]:
    """Return the shape of a chart without the keys that are only in the copy that it was derived from."""
    return {key: item for key, item in shape.items() if key not in ADDED.get(chart, ())}


def is_known(chart: str) -> bool:
    """Say whether the shape of a chart is kept here."""
    return (FOLDER / f"{chart}.yaml").is_file()


def load(chart: str) -> Shape:
    """Return the kept shape of a chart."""
    shape: Any = yaml.safe_load((FOLDER / f"{chart}.yaml").read_text())
    for path, leaf in CORRECTED.get(chart, {}).items():
        *parents, last = path.split(".")
        functools.reduce(dict.__getitem__, parents, shape)[last] = leaf
    return cast("Shape", shape)


def unknown(values: Any, shape: Shape, path: str = "") -> list[str]:
    """Return the paths in `values` that the chart does not know."""
    if not isinstance(shape, dict) or not isinstance(values, dict):
        return []
    return [
        found
        for key, value in values.items()
        for here in [f"{path}.{key}".lstrip(".")]
        for found in (unknown(value, shape[key], here) if key in shape else [here])
    ]


def schema(shape: Shape) -> dict[str, Any]:
    """Return a JSON schema for values of this shape, which refuses any other key."""
    if isinstance(shape, str):
        return dict(TYPES[shape])
    properties = {key: schema(item) for key, item in shape.items()}
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}


if __name__ == "__main__":
    source = Path(sys.argv[1])
    derived: Any = of_chart(source, set(OPEN.get(source.name, ())))
    derived = of_the_vendor(derived, source.name)
    if len(sys.argv) > 2:
        derived["platformConfig"] = of_reference(Path(sys.argv[2]).read_text())
    yaml.safe_dump(derived, sys.stdout, default_flow_style=None, width=118, sort_keys=True)
