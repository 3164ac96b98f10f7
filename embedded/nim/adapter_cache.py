"""The adapters' files on this machine: fetched once from the Data Store or a folder, checked, renamed into place.

Layout `<folder>/<digest of id and version>/{adapter_config.json,adapter_model.safetensors}`: folder names owe nothing
to what the Entity Store says, and changed weights get a new folder (vLLM's prefix cache keys on the path). Refuses all
other files (pickled weights above all), ranks above the limit, weights that are no whole safetensors file, and weights
that vLLM would take without a word and serve wrongly: of layers that it skips, or smaller than the base model's.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.nim.adapter_index import Adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PARTIAL = "partial-"
_LORA = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class NotServableError(Exception):
    """The adapter can never be served as it is; the text says why. Trying again makes no sense."""


@dataclass(frozen=True)
class AdapterCache:
    """Adapter folders below `folder`, which belongs to this object alone."""

    folder: Path
    data_store_url: str  # of `FolderCache`: empty
    max_rank: int
    layers: tuple[str, ...]  # names of the linear layers that may be adapted
    base_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # see `read_shapes`; empty: not checked

    def place(self, adapter: Adapter) -> Path:
        """Where the adapter's files lie, or would lie."""
        digest = hashlib.sha256(f"{adapter.id}\n{adapter.version}".encode()).hexdigest()
        return self.folder / digest[:24]

    def missing(self, adapters: Iterable[Adapter]) -> list[Adapter]:
        """Return those whose files are not there yet. Blocks."""
        held = set(self.folder.iterdir()) if self.folder.is_dir() else set()
        return [adapter for adapter in adapters if self.place(adapter) not in held]

    def fetch(self, adapter: Adapter) -> Path:
        """Return the adapter's folder, downloaded unless it is there. Blocks.

        Raises FilesUrlError when the Data Store cannot deliver (try again later), NotServableError otherwise.
        """
        place = self.place(adapter)
        if place.is_dir():
            return place
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=self.folder) as partial:
            config = self._bring(adapter, CONFIG, Path(partial, "download"))
            self._check_config(config)
            weights = self._bring(adapter, WEIGHTS, Path(partial, "download"))
            self._check_weights(weights)
            ready = Path(partial, "ready")
            ready.mkdir()
            config.rename(ready / CONFIG)
            weights.rename(ready / WEIGHTS)
            with contextlib.suppress(FileExistsError):
                os.rename(ready, place)  # noqa: PTH104 - one atomic step: the folder is there and whole, or not there
        return place

    def _bring(self, adapter: Adapter, name: str, folder: Path) -> Path:
        url = FilesUrl.parse(adapter.files_url, default_type="model")
        return replace(url, path=_inside(url, name)).download(self.data_store_url, folder)

    def discard(self, place: Path) -> None:
        """Remove one adapter's folder. Only when no request can still name it: the engine may read it again."""
        if place.parent == self.folder:
            shutil.rmtree(place, ignore_errors=True)

    def sweep(self, keep: set[Path]) -> None:
        """Remove all but `keep`, and what an interrupted download left."""
        if self.folder.is_dir():
            for place in self.folder.iterdir():
                if place not in keep:
                    shutil.rmtree(place, ignore_errors=True)

    def _check_config(self, path: Path) -> None:
        try:
            config = json.loads(path.read_text())
            kind, rank = config["peft_type"], int(config["r"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotServableError(f"{CONFIG} is not a PEFT configuration: {error!r}") from error
        if kind != "LORA":
            raise NotServableError(f"peft_type {kind!r}: only LORA adapters can be served")
        ranks = [rank, *map(int, (config.get("rank_pattern") or {}).values())]
        if max(ranks) > self.max_rank:
            raise NotServableError(f"rank {max(ranks)} is above max_lora_rank {self.max_rank}: raise it or retrain")

    def _check_weights(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as weights:
                shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise NotServableError(f"{WEIGHTS} cannot be read: {error}") from error
        if not shapes:
            raise NotServableError(f"{WEIGHTS} is empty")
        for name, shape in shapes.items():
            match = _LORA.fullmatch(name)
            if match is None or match[1].rpartition(".")[2] not in self.layers:
                raise NotServableError(f"it changes {name}; only LoRA on {', '.join(self.layers)} can be served")
            layer, side = match.groups()
            base = self.base_shapes.get(f"{layer}.weight")
            if base is None and self.base_shapes:
                raise NotServableError(f"the base model has no layer {layer}: trained on another model?")
            # A is [rank, inputs], B is [outputs, rank]; a linear layer's weight is [outputs, inputs].
            if base is not None and (shape[1] != base[1] if side == "A" else shape[0] != base[0]):
                raise NotServableError(
                    f"{name} is {list(shape)}, the base layer {list(base)}: trained on another model?"
                )


class FolderCache(AdapterCache):
    """The same of adapters whose files lie in a folder of this machine, which changes under its readers."""

    def _bring(self, adapter: Adapter, name: str, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        source = Path(adapter.files_url, name)
        try:
            return Path(shutil.copyfile(source, folder / name))
        except OSError as error:
            raise FilesUrlError(f"{source} cannot be read: {error.strerror}") from error


def _inside(url: FilesUrl, name: str) -> str:
    return f"{url.path}/{name}" if url.path else name


def read_shapes(model_path: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in a local model folder; empty when there is none (a Hub id)."""
    from safetensors import safe_open

    shapes = {}
    for path in sorted(Path(model_path).glob("*.safetensors")):
        with safe_open(path, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                shapes[name] = tuple(weights.get_slice(name).get_shape())
    return shapes


__all__ = ["AdapterCache", "FilesUrlError", "FolderCache", "NotServableError", "read_shapes"]
