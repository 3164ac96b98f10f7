"""docs/configuration.md and docs/config.schema.json, made from the settings: `python -m infra.config.reference`.

A test compares them, so neither can drift. The schema is of a whole stack file, for editors; the program itself
reads the models, which refuse more (rules.py and its two neighbours).
"""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from infra.config.load import section_in
from infra.config.section import PROJECT
from infra.config.stack import SECRET_KEYS, TARGETS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, SCHEMA = "configuration.md", "config.schema.json"
LONGEST_DEFAULT = 60
TABLE = "| key | type | default | meaning |\n|---|---|---|---|\n"

HEAD = f"""# Settings of a stack

Made by `python -m infra.config.reference`; do not edit. Settings are in `Pulumi.<stack>.yaml` under `config`, each top
key with `{PROJECT}:` before it; the files of this repository name all of them. Unknown keys, wrong values and
combinations that cannot work are refused before anything is made, one line each: path, what is wrong, what to do.
Editors check stack files by [{SCHEMA}]({SCHEMA}).

## Secrets
Set by `pulumi config set --secret {PROJECT}:<key>`; in plain text they are refused.

| key | |
|---|---|
"""


def page() -> str:
    """Build the page."""
    secrets = "\n".join(f"| `{key}` | {escape(text)} |" for key, text in SECRET_KEYS.items())
    targets = ", ".join(f"`{target}`" for target in TARGETS)
    parts = [f"{HEAD}{secrets}\n", f"## All stacks\n`target`: one of {targets}. Then, for all but `local`:\n"]
    for section, paths in sections().items():
        names = ", ".join(f"`{path}`" for path in paths)
        about = " ".join((section.__doc__ or "").split())
        rows = [row(name, field) for name, field in section.model_fields.items() if name != "target"]
        if paths == [""]:
            parts.append(TABLE + "\n".join(rows) + "\n")
        else:
            parts.append(f"## {names}\n{about}\n\n{TABLE}" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def sections() -> dict[type[BaseModel], list[str]]:
    """Find every section once, with all its paths, in order: those of all stacks first, then those of each target."""
    found: dict[type[BaseModel], list[str]] = {}
    common = TARGETS["existing"].__mro__[1]  # what all stacks on Kubernetes have
    assert issubclass(common, BaseModel)
    found[common] = [""]
    visit(common, "", found)
    for model in TARGETS.values():
        own = {name: field for name, field in model.model_fields.items() if name not in common.model_fields}
        for name, field in own.items():
            section = section_in(field.annotation)
            assert section is not None
            found.setdefault(section, []).append(name)
            visit(section, f"{name}.", found)
    return found


def visit(model: type[BaseModel], prefix: str, found: dict[type[BaseModel], list[str]]) -> None:
    """Add the sections within a model."""
    for name, field in model.model_fields.items():
        if section := section_in(field.annotation):
            path = f"{prefix}{name}{'[]' if is_list(field.annotation) else ''}"
            found.setdefault(section, []).append(path)
            visit(section, f"{path}.", found)


def row(name: str, field: FieldInfo) -> str:
    """Make a table row of one setting."""
    section = section_in(field.annotation)
    meaning = field.description or (" ".join((section.__doc__ or "").split()) if section else "")
    return f"| `{name}` | {kind(field)} | {default(field)} | {escape(meaning)} |"


def kind(field: FieldInfo) -> str:
    """Say what a value is: its type and its limits."""
    limits = []
    for limit in field.metadata:
        if isinstance(limit, annotated_types.Ge):
            limits.append(f"{limit.ge} or more")
        elif isinstance(limit, annotated_types.Gt):
            limits.append(f"more than {limit.gt}")
        elif isinstance(limit, annotated_types.Le):
            limits.append(f"{limit.le} or less")
    return ", ".join([type_name(field.annotation), *limits])


def type_name(annotation: Any) -> str:
    """Name a type as writers of YAML know it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        of = type_name(inner[0])
        return f"list of {of}s" if of in ("text", "section") else f"list of {of}"
    if origin is dict:
        return f"mapping of text to {type_name(inner[1])}"
    if origin is types.UnionType or (origin is not None and type(None) in inner):
        return " or ".join(type_name(part) for part in inner if part is not type(None))
    if hasattr(annotation, "__metadata__"):
        return type_name(inner[0])
    return {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}[annotation]


def is_list(annotation: Any) -> bool:
    """Tell whether a setting is a list."""
    return get_origin(annotation) is tuple


def default(field: FieldInfo) -> str:
    """Show the default as YAML has it."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return "" if section_of_defaults(value) else "see the stack file"
    if isinstance(value, tuple):
        value = [item.model_dump() if isinstance(item, BaseModel) else item for item in value]
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{escape(text)}`" if len(text) <= LONGEST_DEFAULT else "see the stack file"


def section_of_defaults(value: BaseModel) -> bool:
    """Tell whether a section as it is by default holds just the defaults of its settings."""
    return not value.model_fields_set


def escape(text: str) -> str:
    """Keep a table's cells apart, and what is no markup from being taken for some."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def schema() -> dict[str, Any]:
    """Build the JSON schema of a stack file."""
    _, found = models_json_schema([(model, "validation") for model in TARGETS.values()], ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = found["$defs"]
    secure = {"type": "object", "properties": {"secure": {"type": "string"}}, "required": ["secure"]}
    secrets = {f"{PROJECT}:{key}": secure | {"description": text} for key, text in SECRET_KEYS.items()}
    cases = []
    for target, model in TARGETS.items():
        described = definitions[model.__name__]
        described["properties"] = prefixed(described["properties"]) | secrets
        described["required"] = [f"{PROJECT}:{key}" for key in described["required"]]
        described["patternProperties"] = {f"^(?!{PROJECT}:)": {}}  # settings of other programs and providers
        cases.append(
            {
                "if": {"properties": {f"{PROJECT}:target": {"const": target}}},
                "then": {"$ref": f"#/$defs/{model.__name__}"},
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file of nemostack",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "required": [f"{PROJECT}:target"],
                "properties": {f"{PROJECT}:target": {"enum": list(TARGETS)}},
                "allOf": cases,
            }
        },
        "required": ["config"],
        "$defs": definitions,
    }


def prefixed(properties: dict[str, Any]) -> dict[str, Any]:
    """Put the project's name before each key, as stack files have it."""
    return {f"{PROJECT}:{key}": value for key, value in properties.items()}


def files() -> Iterator[tuple[Path, str]]:
    """Yield both files with their content."""
    yield DOCS / PAGE, page()
    yield DOCS / SCHEMA, json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    for path, content in files():
        path.write_text(content)
        print(path)
