"""Moving one item: its files into a fileset, and the entity that names them.

Files go through a folder of this machine one by one, so that weights never lie in memory. Repeating is safe: a fileset
or entity that is there is filled and described again.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from nemostack.clients import Clients
from nemostack.clients.data_store import RepoType
from nemostack.clients.platform import Platform
from nemostack.clients.platform.evaluation import fileset_of, translate
from nemostack.entity_names import WORKSPACE, entity_name
from nemostack.errors import BadInput, NotFound
from operations.migration.items import Item, target_name
from operations.migration.journal import Moved

_CHUNK = 1 << 20
_QUESTION = {"role": "user", "content": "{{ prompt }}"}
_FILES_FIELD = "nemostack_migrated_from"


class Transfer:
    """From one stack to the other. BadInput from `move` says why an item has no counterpart after all."""

    def __init__(self, source: Clients, target: Clients) -> None:
        self._source, self._target = source, target

    def move(self, item: Item) -> Moved:
        """Bring one item over."""
        move = {
            "dataset": self._dataset,
            "adapter": self._adapter,
            "model": self._model,
            "prompt": self._prompt,
            "evaluation": self._evaluation,
        }[item.kind]
        return move(item)

    def _at(self, target: str) -> tuple[Platform, str]:
        workspace, _, name = target.partition("/")
        platform = self._target.platform.within(workspace)
        platform.ensure_workspace()
        return platform, name

    def _files(self, item: Item, kind: RepoType, purpose: str) -> dict[str, str]:
        platform, name = self._at(item.target)
        platform.create_fileset(name, purpose)
        described = item.entity.get("description") or f"Moved from {item.source}"
        fields = {**(item.entity.get("custom_fields") or {}), _FILES_FIELD: item.source}
        store, hashes = self._source.data_store, {}
        paths = [path for path in store.listing(item.repo, kind, item.revision) if path.startswith(item.prefix)]
        paths = [path for path in paths if not path.endswith(".gitattributes")]
        if not paths:
            raise BadInput(f"repository {item.repo} has no files at revision {item.revision}")
        with tempfile.TemporaryDirectory(prefix="nemostack-migrate-") as folder:
            for path in paths:
                local = store.fetch(item.repo, kind, item.revision, path, Path(folder))
                hashes[path] = digest(local)
                platform.upload(name, path, local)
                local.unlink()
        platform.describe_fileset(name, described, fields)
        return hashes

    def _dataset(self, item: Item) -> Moved:
        return Moved(
            key=item.key, target=item.target, fileset=item.target, files=self._files(item, "dataset", "dataset")
        )

    def _adapter(self, item: Item) -> Moved:
        try:
            base = entity_name(item.base_model)
        except ValueError as error:
            raise BadInput(f"its base model {error}") from error
        platform, name = self._at(item.target)
        if platform.model(base) is None:
            raise BadInput(
                f"its base model {item.base_model} is not on the platform as {WORKSPACE}/{base}: create that "
                "model entity, then migrate again"
            )
        files = self._files(item, "model", "model")
        if platform.adapter(name) is None:
            platform.create_adapter(base, name, fileset=name)
        return Moved(key=item.key, target=item.target, fileset=item.target, files=files)

    def _model(self, item: Item) -> Moved:
        files = self._files(item, "model", "model")
        platform, name = self._at(item.target)
        platform.create_model(name, fileset=name, description=item.entity.get("description") or f"From {item.source}")
        return Moved(key=item.key, target=item.target, fileset=item.target, files=files)

    def _prompt(self, item: Item) -> Moved:
        prompt, notes = item.entity["prompt"], []
        messages = []
        if prompt.get("system_prompt"):
            messages.append({"role": "system", "content": prompt["system_prompt"]})
        examples, known = _turns(prompt.get("icl_few_shot_examples") or "")
        messages += examples
        if not known:
            notes.append("its examples are no list of turns: they are kept as one turn of the system")
        notes += [
            f"{key} is not brought over" for key in ("system_prompt_template", "reasoning_params") if prompt.get(key)
        ]
        platform, name = self._at(item.target)
        about = item.entity.get("description") or f"Moved from {item.source}"
        platform.save_prompt(name, [*messages, _QUESTION], f"{about} (for {item.base_model})")
        return Moved(key=item.key, target=item.target, notes=notes)

    def _evaluation(self, item: Item) -> Moved:
        model = self._target.outputs.base_model
        url = f"{self._target.outputs.inference_internal_url}/v1/chat/completions"
        documents, notes = {}, [f"asks {model}: put the model that you mean into `target`"]
        for task in item.entity.get("tasks") or {}:
            translated = translate(_relocated(item.entity, task), task=task, url=url, model=model)
            documents[f"{task}.json"] = json.dumps(translated.spec, indent=2, sort_keys=True).encode()
            notes += [f"task {task}: {reason}" for reason in translated.left_out]
        if not documents:
            raise BadInput("it has no tasks")
        platform, name = self._at(item.target)
        platform.create_fileset(
            name, "generic", f"Evaluation moved from {item.source}: `nemo evaluator evaluate submit FILE`"
        )
        for path, content in documents.items():
            platform.upload(name, path, content)
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in documents.items()}
        return Moved(key=item.key, target=item.target, fileset=item.target, files=hashes, notes=notes)

    def differing(self, moved: Moved) -> list[str]:
        """Compare each file as the platform gives it back with what was read at the source; paths that differ."""
        if not moved.fileset:
            workspace, _, name = moved.target.partition("/")
            return [] if self._target.platform.within(workspace).prompt(name) is not None else ["the prompt is gone"]
        workspace, _, name = moved.fileset.partition("/")
        platform = self._target.platform.within(workspace)
        wrong = []
        for path, wanted in moved.files.items():
            try:
                if platform.digest(name, path) != wanted:
                    wrong.append(path)
            except NotFound:
                wrong.append(f"{path} (gone)")
        return wrong


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _turns(examples: str) -> tuple[list[dict[str, str]], bool]:
    """Turns of chats as `nemostack run` stores them: a list of turns, or of such lists. False for other texts."""
    if not examples:
        return [], True
    try:
        loaded = json.loads(examples)
        chats = loaded if loaded and isinstance(loaded[0], list) else [loaded]
        return [{"role": turn["role"], "content": turn["content"]} for chat in chats for turn in chat], True
    except (ValueError, TypeError, KeyError, IndexError):
        return [{"role": "system", "content": examples}], False


def _relocated(config: dict[str, Any], task: str) -> dict[str, Any]:
    """Let the task of a config read the fileset that its dataset has become."""
    body = config["tasks"][task]
    files_url = (body.get("dataset") or {}).get("files_url")
    if not files_url:
        raise BadInput(f"task {task} names no file of a dataset")
    reference, _, path = fileset_of(files_url).partition("#")
    namespace, _, name = reference.partition("/")
    moved = f"{target_name(namespace)}/{target_name(name)}{f'#{path}' if path else ''}"
    return config | {"tasks": {task: body | {"dataset": body["dataset"] | {"files_url": moved}}}}
