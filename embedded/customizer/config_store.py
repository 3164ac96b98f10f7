"""Configs (what may be trained, and how) and targets (base models): kept as sent, looked up by versioned names.

For each base model in the settings there is a target `NAME@v1.0.0` and a config `NAME@v1.0.0+CPU` (`+GPU` where a GPU
computes), renewed at every start. A config shows its target in full. Weights are never taken from a path that a client
names: a target is one of the settings' base models, or a model repository of the Data Store, which each job fetches
(see `stored_model`).
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any, Literal

from embedded.common.documents import Document, Documents
from embedded.common.errors import BadRequest, Conflict, NotFound
from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.common.names import Ref, is_entity_name, is_name, new_id, now
from embedded.common.processor import fastest_precision
from embedded.customizer.base_models import facts
from embedded.customizer.schemas import Config, ConfigUpdate, Target, TargetUpdate, TrainingOption
from embedded.customizer.spec import JobError
from embedded.customizer.training_rows import Template

Kind = Literal["config", "target"]
PROMPT_TEMPLATE = "{prompt} {completion}"
VERSION = "v1.0.0"
MAX_SEQ_LENGTH = 2048
Accelerator = Literal["cpu", "cuda"]
CONFIG_SUFFIX: dict[Accelerator, str] = {"cpu": "CPU", "cuda": "GPU"}


def _key(ref: Ref) -> str:
    return str(ref)


class ConfigStore:
    """All configs and targets. `base_models` maps model ids to weights."""

    def __init__(
        self,
        documents: Documents,
        base_models: dict[str, str],
        accelerator: Accelerator = "cpu",
        gpus: int = 0,
    ) -> None:
        self._documents, self.base_models = documents, base_models
        self._accelerator, self._gpus = accelerator, gpus

    def renew_built_in(self) -> None:
        """Bring the entries for the settings' base models up to date."""
        kinds: tuple[Kind, Kind] = ("config", "target")
        for kind in kinds:
            for document in self._documents.all(kind):
                if document["built_in"]:
                    self._documents.delete(kind, _key(Ref(document["namespace"], document["name"])))
        precision = fastest_precision(self._accelerator)
        for model_id, weights in self.base_models.items():
            ref, known = Ref.parse(model_id), facts(weights)
            target = Target(
                name=f"{ref.name}@{VERSION}",
                namespace=ref.namespace,
                base_model=model_id,
                num_parameters=max(1, known.parameters),
                precision=precision,
            )
            self._add("target", target.model_dump(), built_in=True)
            kinds_of_training: tuple[Literal["lora", "lora_merged", "all_weights"], ...] = (
                "lora",
                "lora_merged",
                "all_weights",
            )
            config = Config(
                name=f"{ref.name}@{VERSION}+{CONFIG_SUFFIX[self._accelerator]}",
                namespace=ref.namespace,
                target=f"{ref.namespace}/{target.name}",
                max_seq_length=min(MAX_SEQ_LENGTH, known.context),
                training_precision=precision,
                prompt_template=PROMPT_TEMPLATE,
                training_options=[
                    TrainingOption(finetuning_type=kind, num_gpus=self._gpus, micro_batch_size=1)
                    for kind in kinds_of_training
                ],
            )
            self._add("config", config.model_dump(), built_in=True)

    def _add(self, kind: Kind, body: Document, *, built_in: bool = False) -> Document:
        at, entity_id = now(), new_id(f"customization-{kind}")
        name = body["name"] or entity_id
        if not is_entity_name(name) or not is_name(body["namespace"]):
            raise BadRequest(f"{kind} {body['namespace']}/{name}: names are letters, digits and . _ @ + : -")
        document = {**body, "name": name, "id": entity_id, "created_at": at, "updated_at": at, "built_in": built_in}
        if not self._documents.insert(kind, _key(Ref(document["namespace"], name)), document):
            raise Conflict(f"customization {kind} {document['namespace']}/{name} exists: PATCH or DELETE it")
        return document

    def add_target(self, target: Target) -> Document:
        """BadRequest when its weights cannot be had; Conflict when the name is taken."""
        self.weights(target.model_dump())
        return self.show("target", self._add("target", target.model_dump()))

    def add_config(self, config: Config) -> Document:
        """NotFound when its target does not exist; Conflict when the name is taken."""
        self.check_config(config)
        return self.show("config", self._add("config", config.model_dump()))

    def check_config(self, config: Config) -> None:
        """BadRequest or NotFound when `config` could never be used."""
        if config.target is None:
            raise BadRequest("config without target: name one, e.g. " + ", ".join(self._names("target")))
        self.find_target(config.model_dump())
        try:
            Template.parse(config.prompt_template or PROMPT_TEMPLATE)
        except JobError as error:
            raise BadRequest(error.message) from error

    def get(self, kind: Kind, ref: Ref) -> Document:
        """Get the stored document. NotFound lists what there is."""
        document = self._documents.get(kind, _key(ref))
        if document is None:
            raise NotFound(f"customization {kind} {ref} does not exist; there are: {', '.join(self._names(kind))}")
        return document

    def resolve(self, kind: Kind, text: str) -> Document:
        """As `get`; a name without `@version` means the newest version."""
        try:
            ref = Ref.parse(text)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        if "@" not in ref.name and self._documents.get(kind, _key(ref)) is None:
            versions = [
                document
                for document in self._documents.all(kind)
                if document["namespace"] == ref.namespace and document["name"].startswith(f"{ref.name}@")
            ]
            if versions:  # the last of equal versions is the latest made
                return max(reversed(versions), key=lambda document: _version(document["name"]))
        return self.get(kind, ref)

    def find_target(self, config: Document) -> Document:
        """Find the target of a config document, which may hold it inline."""
        target = config["target"]
        if isinstance(target, str):
            return self.resolve("target", target)
        self.weights(target)
        inline: Document = target
        return inline

    def weights(self, target: Document) -> str:
        """Where the target's weights are: a path, a Hugging Face id, or an `hf://` address in the Data Store."""
        if target["base_model"] in self.base_models and not target["model_uri"]:
            return self.base_models[target["base_model"]]
        uri = target["model_uri"]
        if uri and not target["hf_endpoint"]:
            try:
                url = FilesUrl.parse(uri, default_type="model")
            except FilesUrlError as error:
                raise BadRequest(f"model_uri: {error} (ngc:// is not available here)") from error
            if url.repo_type != "model":
                raise BadRequest(f"model_uri {uri!r} names a dataset: expected hf://models/NAMESPACE/NAME")
            return str(url)
        raise BadRequest(
            f"target: base_model {target['base_model']!r} is not served here (there are: "
            f"{', '.join(self.base_models)}); or give model_uri=hf://models/NAMESPACE/NAME of the Data Store"
        )

    def change(self, kind: Kind, ref: Ref, update: TargetUpdate | ConfigUpdate) -> Document:
        """Apply a PATCH."""
        sent = update.model_dump(exclude_unset=True)
        sent.pop("namespace", None)
        added, removed = sent.pop("add_training_options", None), sent.pop("remove_training_options", None)

        def edit(document: Document) -> Document:
            changed = {**document, **sent, "updated_at": now()}
            if kind == "config":
                options = [o for o in changed["training_options"] if not any(_same(o, r) for r in removed or [])]
                options = [o for o in options if not any(_same(o, a) for a in added or [])] + (added or [])
                if not options:
                    raise BadRequest(f"config {ref}: at least one training option must remain")
                changed["training_options"] = options
                self.check_config(Config.model_validate({k: changed[k] for k in Config.model_fields}))
            else:
                self.weights(changed)
            return changed

        self.get(kind, ref)
        return self.show(kind, self._edit(kind, ref, edit))

    def _edit(self, kind: Kind, ref: Ref, edit: Callable[[Document], Document]) -> Document:
        document = self._documents.change(kind, _key(ref), edit)
        if document is None:
            raise NotFound(f"customization {kind} {ref} does not exist")
        return document

    def remove(self, kind: Kind, ref: Ref) -> Document:
        """Delete it; a target that a config needs stays."""
        document = self.get(kind, ref)
        if kind == "target":
            users = [f"{c['namespace']}/{c['name']}" for c in self._documents.all("config") if c["target"] == str(ref)]
            if users:
                raise Conflict(f"target {ref} is used by config {', '.join(users)}: delete that first")
        self._documents.delete(kind, _key(ref))
        return {"id": document["id"], "deleted_at": now(), "message": f"customization {kind} {ref} deleted"}

    def all(self, kind: Kind) -> list[Document]:
        """Everything, as shown, with the fields that `list` filters and sorts by."""
        return [self.show(kind, document) for document in self._documents.all(kind)]

    def _names(self, kind: Kind) -> list[str]:
        return [f"{document['namespace']}/{document['name']}" for document in self._documents.all(kind)] or ["none"]

    def show(self, kind: Kind, document: Document) -> Document:
        """Make what the API shows. A target that is gone, as when base_models changed, is shown by its name alone."""
        shown = {key: value for key, value in document.items() if key != "built_in"}
        if kind == "target":
            return {**shown, "model_type": "hf", "status": "ready", "model_path": shown["model_path"] or ""}
        if isinstance(document["target"], str):
            with contextlib.suppress(NotFound):
                shown["target"] = self.show("target", self.resolve("target", document["target"]))
        return shown


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("training_type", "finetuning_type"))


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name.partition("@")[2].partition("+")[0])]
