"""OpenAPI schemas of custom resources from the short notation of schemas.yaml, which says where they come from.

A schema knows the fields that the program sets and refuses others, which is stricter than the original where that has
more. A kind that is not in the file takes anything.
"""

from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
NOTES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("schemas.yaml").read_text())
ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}
PLAIN: dict[str, Schema] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "bool": {"type": "boolean"},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
    "quantity": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
    "anything": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
}
MOST, MOST_TEXT = 64, 253
"""Items of a list, characters of a text: the API server wants limits where it counts the cost of rules."""


def find(name: str) -> Schema | None:
    """Return the schema of the definition `plural.group`, None if nothing is noted of it."""
    if name not in NOTES:
        return None
    schema = _object(NOTES[name])
    schema["properties"]["status"] = {"type": "object", **ANYTHING}
    return schema


def _read(note: Any) -> Schema:
    if isinstance(note, list):
        return {"type": "array", "maxItems": MOST, "items": _read(note[0])}
    if isinstance(note, str):
        return _leaf(note)
    if "$items" in note:
        schema = {"type": "array", "maxItems": MOST, "items": _read(note["$items"])}
        if "$key" in note:
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [note["$key"]]}
    else:
        schema = _leaf(note["$type"]) if "$type" in note else _object(note)
    return schema | _rules(note)


def _object(note: dict[str, Any]) -> Schema:
    fields = {key: value for key, value in note.items() if not key.startswith("$")}
    schema: Schema = {
        "type": "object",
        "properties": {key.removesuffix("!"): _read(value) for key, value in fields.items()},
    }
    if required := [key.removesuffix("!") for key in fields if key.endswith("!")]:
        schema["required"] = required
    return schema | _rules(note)


def _rules(note: dict[str, Any]) -> Schema:
    rules = [{"rule": rule, "message": message} for rule, message in note.get("$rules", ())]
    return {"x-kubernetes-validations": rules} if rules else {}


def _leaf(note: str) -> Schema:
    if note.startswith("/"):
        return {"type": "string", "pattern": note[1:-1], "maxLength": MOST_TEXT}
    words, _, default = note.partition(" = ")
    if words in PLAIN:
        schema = dict(PLAIN[words])
    else:
        schema = {"type": "string", "enum": [word.strip() for word in words.split("|")]}
    if schema.get("type") == "string" and "enum" not in schema:
        schema["maxLength"] = MOST_TEXT
    if default:
        schema["default"] = yaml.safe_load(default)
    return schema
