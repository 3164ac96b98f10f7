"""What there is to move: the entities of the microservices, and for each what it becomes on the platform.

An entity without a counterpart is an item as well, with the reason, so that the report is complete.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal

from nemostack.clients import Clients
from nemostack.clients.error_mapping import calling
from nemostack.entity_names import WORKSPACE
from nemostack.models import Model

Kind = Literal["dataset", "adapter", "model", "prompt", "evaluation"]
MAX_NAME = 63
_HF = re.compile(r"hf://(?:datasets/|models/)?(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?")


class Item(Model):
    """One thing. `source` and `target` are `namespace/name`; `problem` says why it has no counterpart."""

    kind: Kind
    source: str
    target: str
    entity: dict[str, Any]
    repo: str = ""
    revision: str = "main"
    prefix: str = ""
    base_model: str = ""
    problem: str = ""

    @property
    def key(self) -> str:
        """Name in the journal."""
        return f"{self.kind} {self.source}"


def items_of(clients: Clients) -> Iterator[Item]:
    """List everything, datasets first, since evaluation definitions name them."""
    sdk, url = clients.sdk, clients.outputs.nemo_url
    with calling("Entity Store", url, "listing the datasets"):
        datasets = [_plain(row) for row in sdk.datasets.list(page_size=100)]
    yield from map(_dataset, datasets)
    with calling("Entity Store", url, "listing the models"):
        models = [_plain(row) for row in sdk.models.list(page_size=100)]
    yield from map(_model, models)
    with calling("Evaluator", url, "listing the evaluation configs"):
        configs = [_plain(row) for row in sdk.evaluation.configs.list(page_size=100)]
    yield from map(_evaluation, configs)


def _plain(row: Any) -> dict[str, Any]:
    return dict(row.to_dict(mode="json", exclude_unset=True, warnings=False))


def target_name(text: str) -> str:
    """Name by the platform's rules: small letters, digits and - . _, a letter first, 2 to 63 characters.

    A name that is too long keeps its beginning and gets a digest of the whole.
    """
    name = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", text.lower())).strip("-")
    name = name if name[:1].isalpha() else f"m-{name}"
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME - 9].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return name if len(name) > 1 else f"{name}-1"


def _names(entity: dict[str, Any]) -> tuple[str, str]:
    """(source, target) as `namespace/name`."""
    namespace, name = entity.get("namespace") or WORKSPACE, entity.get("name") or entity.get("id") or ""
    return f"{namespace}/{name}", f"{target_name(namespace)}/{target_name(name)}"


def _place(files_url: str) -> dict[str, str]:
    found = _HF.fullmatch(files_url)
    if found is None:
        return {"problem": f"its files are at {files_url}, which is no address of the Data Store"}
    return {"repo": found["repo"], "revision": found["revision"] or "main", "prefix": found["path"] or ""}


def _dataset(entity: dict[str, Any]) -> Item:
    source, target = _names(entity)
    if entity.get("hf_endpoint"):
        problem = f"its files stay on {entity['hf_endpoint']}: name them there, or download and upload them"
        return Item(kind="dataset", source=source, target=target, entity=entity, problem=problem)
    return Item(kind="dataset", source=source, target=target, entity=entity, **_place(entity.get("files_url") or ""))


def _model(entity: dict[str, Any]) -> Item:
    source, target = _names(entity)
    base = entity.get("base_model")
    base = base if isinstance(base, str) else str((base or {}).get("name") or "")
    prompt, artifact = entity.get("prompt") or {}, entity.get("artifact") or {}
    if artifact.get("files_url"):
        adapter = (entity.get("peft") or {}).get("finetuning_type") == "lora"
        kind: Kind = "adapter" if adapter else "model"
        place = _place(artifact["files_url"])
        if artifact.get("status") not in {None, "upload_completed"}:
            place["problem"] = f"its files are not complete ({artifact.get('status')})"
        if adapter:  # beside its base model, under which it is served
            target = f"{WORKSPACE}/{target_name(source.replace('/', '-'))}"
        return Item(kind=kind, source=source, target=target, entity=entity, base_model=base, **place)
    if any(prompt.values()):
        return Item(kind="prompt", source=source, target=target, entity=entity, base_model=base)
    problem = "it has neither files nor a prompt"
    if entity.get("api_endpoint"):
        problem = "it is an endpoint elsewhere: register that as a provider of the platform"
    return Item(kind="model", source=source, target=target, entity=entity, problem=problem)


def _evaluation(entity: dict[str, Any]) -> Item:
    source, target = _names(entity)
    problem = "" if entity.get("type") == "custom" else f"the platform has no benchmarks such as {entity.get('type')}"
    return Item(kind="evaluation", source=source, target=target, entity=entity, problem=problem)
