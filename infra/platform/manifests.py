"""CustomResourceDefinitions from pinned manifests: one Pulumi resource each, so that an upgrade shows and applies them.

Helm installs what is in a chart's crds/ once and never upgrades it, hence not by Helm. A manifest comes from its
address and is kept in a cache folder, or from `charts.source` where clusters have no internet. Refuses a file whose
digest is not the pinned one.

Definitions outlive their stack, so they may be there when one comes. They are applied, not created: under a field
manager whose name is the same in every stack, so that one follows another, with other versions too. What somebody else
has made of them is never overwritten: the API server answers with a conflict that names the other. A new version shows
as a replacement, of the resource in the state only: an update would put the definition by another operation, which to
the API server is another owner, and the next stack would meet a conflict with this one.
"""

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml

from infra.versions import Manifest

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, ten times as fast, where PyYAML has it
DOWNLOAD_S = 30
FIELD_MANAGER = "pulumi.com/patchFieldManager"
OWN = "apply it yourself and set prerequisites.gateway_api: adopt and routes.gateway.install: false"


@dataclass(frozen=True, kw_only=True)
class DefinitionsArgs:
    """`folder`: where the manifests are in place of their addresses."""

    manifests: Sequence[Manifest]
    folder: Path | None = None


class Definitions(pulumi.ComponentResource):
    """The CustomResourceDefinitions of some manifests. They stay when the stack goes: others may use them too."""

    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: DefinitionsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Definitions", name, None, opts)
        self.ready = [
            kubernetes.apiextensions.v1.CustomResourceDefinitionPatch(
                definition["metadata"]["name"],
                metadata=managed(definition["metadata"]),
                spec=definition["spec"],
                opts=pulumi.ResourceOptions(
                    parent=self, retain_on_delete=True, replace_on_changes=["metadata", "spec"]
                ),
            )
            for manifest in args.manifests
            for definition in definitions(read(manifest, args.folder))
        ]
        self.register_outputs({})


def managed(metadata: dict[str, Any]) -> Any:
    """Say in an object's metadata under which name its fields are owned."""
    return metadata | {"annotations": {**(metadata.get("annotations") or {}), FIELD_MANAGER: "nemostack"}}


def read(manifest: Manifest, folder: Path | None = None) -> bytes:
    """Return a manifest from `folder`, else from the cache or its address. Raises RunError with the remedy.

    A folder of yours may hold another version of it; only what is downloaded is held to the digest.
    """
    if folder is not None:
        try:
            return (folder / manifest.file).read_bytes()
        except OSError as error:
            raise pulumi.RunError(
                f"charts.source: {folder / manifest.file} cannot be read ({error.strerror}): "
                f"put {manifest.url} there, or {OWN}"
            ) from None
    kept = cache() / f"{manifest.sha256[:16]}-{manifest.file}"
    if kept.is_file() and digest(content := kept.read_bytes()) == manifest.sha256:
        return content
    content = download(manifest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(kept)
    return content


def download(manifest: Manifest) -> bytes:
    """Fetch a manifest. Raises RunError if it cannot be had or is not the pinned one."""
    remedy = (
        f"put the file into the folder of charts.source as {manifest.file}, or set prerequisites.gateway_api: adopt"
    )
    try:
        with urllib.request.urlopen(manifest.url, timeout=DOWNLOAD_S) as answer:  # noqa: S310 - pinned https addresses
            content: bytes = answer.read()
    except OSError as error:
        raise pulumi.RunError(f"{manifest.url} cannot be downloaded: {error}: {remedy}") from None
    if (actual := digest(content)) != manifest.sha256:
        raise pulumi.RunError(f"{manifest.url} has changed: sha256 {actual} instead of {manifest.sha256}: {remedy}")
    return content


def definitions(content: bytes) -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of a manifest, without descriptions and status.

    Descriptions are two thirds of their size, and Pulumi writes its state at every step.
    """
    documents = [document for document in yaml.load_all(content, Loader=LOADER) if document]
    return [
        without_descriptions({"metadata": document["metadata"], "spec": document["spec"]})
        for document in documents
        if document["kind"] == "CustomResourceDefinition"
    ]


def without_descriptions(schema: Any) -> Any:
    """Drop the texts called description; a field of that name is a mapping and stays."""
    if isinstance(schema, dict):
        return {
            key: without_descriptions(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [without_descriptions(value) for value in schema] if isinstance(schema, list) else schema


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def cache() -> Path:
    """Folder of downloaded manifests."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemostack" / "manifests"
