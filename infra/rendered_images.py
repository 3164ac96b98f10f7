"""Images in rendered manifests: those of containers, and those that operators and services pull later.

A chart hands the second kind on in many forms: as `image` of a custom resource, in parts (repository, image, version),
in variables and arguments of containers, and in configuration files within ConfigMaps. All are read, because a mirror
needs them all. Refuses nothing; what does not look like an image is passed over.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = r"(?::[A-Za-z0-9_][\w.-]{0,127})"
_DIGEST = r"(?:@sha256:[0-9a-f]{64})"
_HOST = r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?"
IN_TEXT = re.compile(rf"(?<![\w./:@-]){_HOST}(?:/[a-z0-9][a-z0-9._-]*)+(?:{_TAG}{_DIGEST}?|{_DIGEST})")
"""In any text: with the host of a registry, and a tag or a digest."""
ALONE = re.compile(rf"(?:[\w.-]+(?::\d+)?/)*[a-z0-9][a-z0-9._-]*{_TAG}?(?:@sha256:[0-9a-f]+)?")
"""Where only an image can stand: `busybox` is one, too."""
PLACEHOLDER = "placeholder-"
"""In templates of jobs, whose image a service fills in."""


def images_in(manifests: str) -> set[str]:
    """Return the images that rendered manifests name, wherever in an object they stand."""
    documents = [one for one in yaml.load_all(manifests, Loader=LOADER) if isinstance(one, dict)]
    images = {
        image
        for document in documents
        if document.get("kind") != "CustomResourceDefinition"  # whose descriptions have examples
        for image in _in_value(document)
    }
    return {image for image in images if not image.startswith(PLACEHOLDER)}


def _in_value(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _in_mapping(value)
    elif isinstance(value, list):
        for inner in value:
            yield from _in_value(inner)
    elif isinstance(value, str):
        yield from IN_TEXT.findall(value)
        yield from _in_file(value)


def _in_mapping(mapping: dict[Any, Any]) -> Iterator[str]:
    in_parts = isinstance(mapping.get("repository"), str) and isinstance(mapping.get("image"), str)
    if mapping.get("enabled") is False and isinstance(mapping.get("image"), str):
        return  # a part that an operator leaves out
    for key, value in mapping.items():
        names_image = isinstance(key, str) and key.lower().endswith("image")
        if names_image and isinstance(value, dict) and isinstance(value.get("repository"), str):
            yield _joined(value.get("registry"), value["repository"], tag=value.get("tag"))
        elif names_image and isinstance(value, str) and ALONE.fullmatch(value):
            if key == "image" and in_parts:
                yield _joined(mapping["repository"], value, tag=mapping.get("version") or mapping.get("tag"))
            else:
                yield _joined(value, tag=mapping.get(f"{key}_tag"))
        else:
            yield from _in_value(value)
    variable, value = mapping.get("name"), mapping.get("value")
    if isinstance(variable, str) and variable.endswith("IMAGE") and isinstance(value, str) and ALONE.fullmatch(value):
        yield value


def _in_file(text: str) -> Iterator[str]:
    """Yield the images in a configuration file: YAML, of which JSON is a part."""
    if "\n" not in text:
        return
    try:
        content = yaml.load(text, Loader=LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError:
        return
    if isinstance(content, dict | list):
        yield from _in_value(content)


def _joined(*parts: str | None, tag: Any) -> str:
    name = "/".join(part for part in parts if part)
    if not tag:
        return name
    return f"{name}@{tag}" if str(tag).startswith("sha256:") else f"{name}:{tag}"
