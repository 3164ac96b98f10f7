"""Stack files, `Pulumi.<stack>.yaml`: a short one to start from, the annotated form of every setting, and reading one.

A starter (infra/config/starters/) has what must be chosen, and `replace-me` where nobody else can know. The annotated
form is generated from the settings' models: every key with its meaning, set to its default or commented out. Reading
refuses what is no stack file, and turns one into what the engine would hand to `load`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra.config.load import load, parse
from infra.config.section import PROJECT, Product, is_list, section_in
from infra.config.stack import SECRET_KEYS, TARGETS, StackConfig, of_the_product
from nemostack.errors import SettingsError

PLACEHOLDER = "replace-me"
DEFAULT_PRODUCT: Product = "microservices"
OF_MICROSERVICES = re.compile(r" # 1\.x loads adapters.*|; the Customizer and the Evaluator need it", re.MULTILINE)
"""Remarks in starters that are true of the microservices alone."""
_WIDTH = 120


def starter(target: str, name: str, product: Product = DEFAULT_PRODUCT) -> str:
    """Return a short stack file for a new stack `name`. Raises SettingsError for an unknown target."""
    if target not in TARGETS:
        raise SettingsError(f"target {target!r} is unknown; choose one of {', '.join(TARGETS)}")
    text = resources.files("infra.config").joinpath("starters", f"{target}.yaml").read_text(encoding="utf-8")
    if product != DEFAULT_PRODUCT:
        line = f"  {PROJECT}:target: {target}\n"
        text = text.replace(line, f"{line}  {PROJECT}:product: {product} # the NeMo Platform: docs/platform.md\n")
        text = OF_MICROSERVICES.sub("", text)
    return text.replace("{name}", name)


def annotated(target: str, name: str | None = None, product: Product = DEFAULT_PRODUCT) -> str:
    """Return a stack file with every setting, explained; as an example of the target unless there is a `name`."""
    text = starter(target, name or target, product)
    comments, _, _ = text.partition("config:\n")
    kept = [line for line in comments.splitlines() if not line.startswith("# All settings") and "--secret" not in line]
    keys = {} if target == "local" else SECRET_KEYS
    secrets = [
        f"#   pulumi config set -s {name or target} --secret {PROJECT}:{key} # {about}" for key, about in keys.items()
    ]
    chosen = {key.removeprefix(f"{PROJECT}:"): value for key, value in yaml.safe_load(text)["config"].items()}
    if target != "local":
        chosen = of_the_product(chosen)
    lines = [
        *kept,
        *secrets,
        "# Every setting, set to its default or commented out. Generated from the settings; unknown keys are refused.",
        "config:",
        f"  {PROJECT}:target: {target}",
    ]
    model = TARGETS[target]
    own_first = sorted(model.model_fields, key=lambda field: field != target)
    for key in own_first:
        if key != "target":
            lines += ["", *_setting(f"{PROJECT}:{key}", model.model_fields[key], chosen, "  ", example=False)]
    content = "\n".join(lines) + "\n"
    return content if name else content.replace("$schema=docs/", "$schema=../../docs/")


def _setting(key: str, field: FieldInfo, chosen: Mapping[str, Any], indent: str, *, example: bool) -> Iterator[str]:
    """Yield the lines of one setting: its meaning, then the value in force, or the key commented out.

    `chosen`: the values of its section. In an `example`, which is commented out as a whole, nothing is by itself.
    """
    name = key.removeprefix(f"{PROJECT}:")
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    value = chosen.get(name, default)
    section = section_in(field.annotation)
    about = field.description or (" ".join((section.__doc__ or "").split()) if section else "")
    if section is None:
        yield from _leaf(key, value, about, indent, example=example)
        return
    yield from _comment(about, indent)
    if is_list(field.annotation):
        items = [_item(section, item, example=example or not value) for item in value or [None]]
        lines = [f"{key}:", *(f"  {line}" for item in items for line in item)]
        out = not value
    else:
        lines = [f"{key}:", *_fields(section, value, "  ", example=example or value is None)]
        out = value is None or all(line.lstrip().startswith("#") for line in lines[1:])
        if out:
            lines = [f"{key}:", *_fields(section, value, "  ", example=True)]
    for line in lines:
        yield f"{indent}# {line}" if out and not example else f"{indent}{line}"


def _fields(model: type[BaseModel], values: Any, indent: str, *, example: bool) -> Iterator[str]:
    """Yield the settings of a section; `values`: a mapping, a model, or None for the defaults."""
    chosen = values.model_dump() if isinstance(values, BaseModel) else dict(values or {})
    for key, field in model.model_fields.items():
        yield from _setting(key, field, chosen, indent, example=example)


def _item(model: type[BaseModel], values: Any, *, example: bool) -> list[str]:
    """Return the lines of one item of a list of sections; the first key that is in force carries the dash."""
    lines = list(_fields(model, values, "  ", example=example))
    first = next(at for at, line in enumerate(lines) if not line.lstrip().startswith("#"))
    return [f"- {lines[first].lstrip()}", *lines[:first], *lines[first + 1 :]]


def _leaf(key: str, value: Any, about: str, indent: str, *, example: bool) -> Iterator[str]:
    mark = "# " if value is None and not example else ""
    line = f"{indent}{mark}{key}: {_scalar(value)}"
    if about and len(line) + len(about) + 3 <= _WIDTH:
        yield f"{line} # {about}"
    else:
        yield from _comment(about, indent)
        yield line


def _scalar(value: Any) -> str:
    """Write a value as YAML does on one line."""
    plain = json.loads(json.dumps(value))  # tuples become lists
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _comment(text: str, indent: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(indent) + len(line) + len(word) + 3 > _WIDTH:
            yield f"{indent}# {line}"
            line = ""
        line = f"{line} {word}".strip()
    if line:
        yield f"{indent}# {line}"


def read(path: Path) -> dict[str, str]:
    """Read a stack file as the engine does: `nemostack:key` -> text, or JSON for structured values.

    Secrets are not decrypted: their keys are there. Raises SettingsError.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no {path}: `nemostack config init` writes one") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    settings = content.get("config") if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise SettingsError(f"{path} has no mapping `config`, under which the settings of a stack are")
    flat = {}
    for key, value in settings.items():
        name = str(key).removeprefix(f"{PROJECT}:")
        if name in SECRET_KEYS and not (isinstance(value, dict) and "secure" in value):
            raise SettingsError(f"{key}: is stored in plain text: pulumi config set --secret {key}")
        flat[str(key)] = value if isinstance(value, str) else json.dumps(value, default=partial(_refuse, key))
    return flat


def _refuse(key: Any, value: Any) -> NoReturn:
    """Raise SettingsError for a value that is neither text nor number, list nor mapping: YAML knows dates as well."""
    raise SettingsError(f"{key}: {value} is a {type(value).__name__} to YAML: put it in quotes")


def check(path: Path) -> StackConfig:
    """Validate a stack file without an engine. Raises SettingsError with one line per problem."""
    raw = read(path)
    if untouched := list(_placeholders(raw)):
        raise SettingsError("\n".join(f"{place}: still {PLACEHOLDER}: put your own value here" for place in untouched))
    return load(raw)


def starter_settings(target: str, product: Product = DEFAULT_PRODUCT) -> StackConfig:
    """Return the settings of a new stack, with a word in the place of what only its user can know.

    Raises SettingsError for an unknown target.
    """
    settings = yaml.safe_load(starter(target, target, product).replace(PLACEHOLDER, "example"))["config"]
    if target != "local":
        settings[f"{PROJECT}:ngc_api_key"] = {"secure": "example"}
    return load({key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()})


def _placeholders(raw: Mapping[str, str]) -> Iterator[str]:
    """Find the settings that still have the starter's placeholder."""

    def search(value: Any, place: str) -> Iterator[str]:
        if value == PLACEHOLDER:
            yield place
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield from search(inner, f"{place}.{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from search(inner, f"{place}.{index}")

    for key, value in raw.items():
        yield from search(parse(value), key)
