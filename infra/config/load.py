"""Read a stack's settings, every `nemostack:*` key of `Pulumi.<stack>.yaml`, into one model.

Called once, at the edge (`infra/__main__.py`). Refuses unknown keys, wrong values and combinations that cannot
work, with one line each: the path, what is wrong, what to do. Values of secrets are never repeated.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from infra.config.rules import broken_rules
from infra.config.section import PROJECT, section_in
from infra.config.stack import SECRET_KEYS, STACK_CONFIG, TARGETS, ClusterStackConfig, StackConfig
from nemostack.errors import SettingsError
from nemostack.validation import validation_message


def load(raw: Mapping[str, str]) -> StackConfig:
    """Validate Pulumi's flat configuration (`nemostack:key` -> text or JSON). Raises SettingsError."""
    settings = {
        key.removeprefix(f"{PROJECT}:"): parse(value) for key, value in raw.items() if key.startswith(f"{PROJECT}:")
    }
    secrets = {key for key in SECRET_KEYS if settings.pop(key, None) is not None}
    try:
        config = STACK_CONFIG.validate_python(settings)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # a list whose items are wrong counts as too short as well, which says nothing
        broken = [problem["loc"] for problem in errors if problem["type"] != "too_short"]
        lines = [
            describe(dict(problem))
            for problem in errors
            if problem["type"] != "too_short" or all(loc[: len(problem["loc"])] != problem["loc"] for loc in broken)
        ]
        raise SettingsError("\n".join(lines)) from None
    if isinstance(config, ClusterStackConfig) and (problems := broken_rules(config, secrets)):
        raise SettingsError("\n".join(f"{PROJECT}:{problem}" for problem in problems))
    return config


def parse(value: str) -> Any:
    """Read a value as Pulumi hands it over: structured values are JSON, plain ones text (pydantic reads numbers)."""
    if value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def describe(problem: dict[str, Any]) -> str:
    """One line for one of pydantic's errors, whose location begins with the target."""
    if problem["type"] == "union_tag_not_found":
        return f"{PROJECT}:target: missing; one of {', '.join(TARGETS)}"
    if problem["type"] == "union_tag_invalid":
        return f"{PROJECT}:target: {problem['input']['target']!r} is unknown; choose one of {', '.join(TARGETS)}"
    target, *location = (str(part) for part in problem["loc"])
    path = f"{PROJECT}:{'.'.join(location)}"
    if problem["type"] == "extra_forbidden":
        known = keys_at(TARGETS[target], location[:-1]) + (list(SECRET_KEYS) if len(location) == 1 else [])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        return f"{path}: unknown key ({hint})"
    message = f"{path}: {validation_message(problem)}"
    # a whole section says nothing that its path does not, and may be long
    return message if isinstance(problem["input"], dict | list) else f"{message}, got {problem['input']!r}"


def keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """List the keys known in the section at `location`, through tuples and optional sections."""
    for part in location:
        if part.isdigit():
            continue
        section = section_in(model.model_fields[part].annotation)
        assert section is not None
        model = section
    return list(model.model_fields)
