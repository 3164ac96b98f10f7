"""Writes the stand-in charts: `write(folder)` makes `<chart>/` for each chart of infra/versions.py, pinned as there.

Beside them the manifests of infra/versions.py, as definitions of what the program sets (schemas.yaml).

`python -m simulator.charts.generate FOLDER` does it by hand, for a stack with `nemostack:charts.source: FOLDER`.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from infra.versions import CHARTS, MANIFESTS
from simulator.charts import definition_schemas, shapes

HERE = Path(__file__).parent
CATALOG: dict[str, Any] = yaml.safe_load((HERE / "catalog.yaml").read_text())
KIND = re.compile(r"(\w+)(!?)(?: \((\w+)\))?")
ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _with(**properties: Any) -> dict[str, Any]:
    return ANYTHING | {"properties": properties}


# The rule of the real definition of NIMCache that a change of a stack meets.
IMMUTABLE_PULLER = {
    "type": "string",
    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "modelPuller is an immutable field"}],
}
RULES = {
    "nimcaches.apps.nvidia.com": _with(spec=_with(source=_with(ngc=_with(modelPuller=IMMUTABLE_PULLER)))),
}
ABOUT = (
    "A stand-in for the chart {name}, made by simulator/charts: it takes the same values and starts nothing real. "
    "What is proven with it is our program, not the chart's own templates.\n"
)


def nim_definitions() -> Path | None:
    """Return the folder with the NIM operator's own definitions, None if there is none.

    They are NVIDIA's and not kept here: NEMOSTACK_NIM_CRDS names the folder (`config/crd/bases` of the operator's
    sources); without it, `shared/contract/crds` beside this repository counts.
    """
    named = os.environ.get("NEMOSTACK_NIM_CRDS")
    folder = Path(named) if named else HERE.parents[2] / "shared" / "contract" / "crds"
    return folder if any(folder.glob("apps.nvidia.com_*.yaml")) else None


def write(folder: Path) -> None:
    """Write every chart that a stack can ask for into `folder`."""
    for chart in CHARTS:
        if not shapes.is_known(chart.name):  # only a cloud asks for it, and no test is on a cloud
            continue
        _write(folder / chart.name, chart.name, chart.version)
    for manifest in MANIFESTS:
        group, plural = manifest.file.removesuffix(".yaml").split("_")
        text = yaml.safe_dump(definition(f"{group}/{CATALOG['versions'].get(plural, 'v1')}", CATALOG["kinds"][plural]))
        (folder / manifest.file).write_text(text)


def _write(folder: Path, name: str, version: str, *, alias: bool = False) -> None:
    known = CATALOG.get(name, {})
    templates = folder / "templates"
    templates.mkdir(parents=True)
    shutil.copy(HERE / "_standin.tpl", templates)
    about = {"apiVersion": "v2", "name": name, "version": version, "appVersion": "0.0.0-stand-in"}
    about["description"] = f"Stand-in for {name}, for tests"
    template = HERE / "templates" / f"{name}.yaml"
    if template.is_file():
        shutil.copy(template, templates)
    (folder / "README.md").write_text(ABOUT.format(name=name))
    if alias:
        (folder / "values.yaml").write_text(yaml.safe_dump(known.get("defaults", {})))
    else:
        shutil.copy(HERE / "values.yaml", templates)
        shape = shapes.load(name)
        (folder / "values.schema.json").write_text(json.dumps(shapes.schema(shape)))
        (folder / "values.yaml").write_text(yaml.safe_dump(_defaults(shape, known.get("defaults", {}))))
    dependencies = known.get("dependencies", {})
    for part in dependencies.values():
        _write(folder / "charts" / part["chart"], part["chart"], version, alias=True)
    about["dependencies"] = [  # type: ignore[assignment]
        {"name": part["chart"], "alias": key, "version": version, "condition": f"{key}.enabled", "tags": part["tags"]}
        for key, part in dependencies.items()
    ]
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about))
    _write_definitions(folder, known)


def _defaults(shape: shapes.Shape, known: Any) -> Any:
    """Give every mapping of the shape, so that templates can look into it, and the values that are known."""
    if not isinstance(shape, dict):
        return known
    return {
        key: _defaults(item, known.get(key, {}))
        for key, item in shape.items()
        if isinstance(item, dict) or key in known
    }


def _write_definitions(folder: Path, known: dict[str, Any]) -> None:
    definitions = [
        definition(group_versions, kind)
        for group_versions, kinds in known.get("definitions", {}).items()
        for kind in kinds
    ]
    if not definitions:
        return
    text = yaml.safe_dump_all(definitions)
    when = known.get("definitions_when")
    if when:
        (folder / "templates" / "definitions.yaml").write_text(f"{{{{- if {when} }}}}\n{text}{{{{- end }}}}\n")
    else:
        (folder / "crds").mkdir()
        (folder / "crds" / "definitions.yaml").write_text(text)


def definition(group_versions: str, kind: str) -> dict[str, Any]:
    """Return the operator's own CRD if it is there (`nim_definitions`), else one with a status and what is noted of it.

    NVIDIA's schemas are not ours to ship. What the API server refuses by them, and a stack has to know, is kept. Those
    of others are in schemas.yaml, as far as the program needs them; further kinds take anything.
    """
    group, _, versions = group_versions.partition("/")
    match = KIND.fullmatch(kind)
    assert match, kind
    name, cluster_wide, plural = match.groups()
    plural = plural or f"{name.lower()}s"
    own = nim_definitions()
    if own and (file := own / f"{group}_{plural}.yaml").is_file():
        original: dict[str, Any] = yaml.safe_load(file.read_text())
        return original
    schema = definition_schemas.find(f"{plural}.{group}") or RULES.get(f"{plural}.{group}", ANYTHING)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": _approval(group)},
        "spec": {
            "group": group,
            "scope": "Cluster" if cluster_wide else "Namespaced",
            "names": {"kind": name, "plural": plural, "singular": name.lower(), "listKind": f"{name}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": index == 0,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
                for index, version in enumerate(versions.split(","))
            ],
        },
    }


def _approval(group: str) -> dict[str, str]:
    """Groups of Kubernetes itself need a note that the API was reviewed; this one was not."""
    protected = group.endswith((".k8s.io", ".kubernetes.io"))
    return {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"} if protected else {}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
