"""The adapters that the Entity Store announces for a base model, or that lie in a folder.

An adapter is a model entity with `peft.finetuning_type` lora, this base model, and an artifact whose upload has
completed: entities exist from the moment the job is created, so existence alone says nothing. Reads only.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

PAGE_SIZE = 1000
MAX_PAGES = 100


class AdapterIndexError(Exception):
    """The Entity Store did not answer, or not as agreed; the text says which."""


@dataclass(frozen=True)
class Adapter:
    """One adapter that is ready to be served."""

    id: str  # what clients name: namespace/name@cust-id
    files_url: str
    version: str  # changes whenever the files may have changed


class _Peft(BaseModel):
    finetuning_type: str


class _Artifact(BaseModel):
    status: str
    files_url: str


class _BaseModelObject(BaseModel):
    name: str
    namespace: str | None = None


class _Entity(BaseModel):
    """The part of a model entity that matters here; the rest is the Entity Store's business."""

    namespace: str
    name: str
    base_model: str | _BaseModelObject | None = None
    peft: _Peft | None = None
    artifact: _Artifact | None = None
    created_at: str = ""
    updated_at: str | None = None

    def base_id(self) -> str:
        """`namespace/name` of the base model, without the version of a customization target."""
        base = self.base_model
        if isinstance(base, _BaseModelObject):
            base = f"{base.namespace}/{base.name}" if base.namespace and "/" not in base.name else base.name
        return (base or "").partition("@")[0]

    def adapter(self, base_model: str) -> Adapter | None:
        """Read as an adapter of `base_model`; None when it is none, or not yet."""
        if self.peft is None or self.peft.finetuning_type != "lora" or self.base_id() != base_model.partition("@")[0]:
            return None
        if self.artifact is None or self.artifact.status != "upload_completed":
            return None
        version = f"{self.artifact.files_url} {self.created_at} {self.updated_at}"
        return Adapter(f"{self.namespace}/{self.name}", self.artifact.files_url, version)


async def read_index(client: httpx.AsyncClient, entity_store_url: str, base_model: str) -> dict[str, Adapter]:
    """Id -> adapter, over all pages. AdapterIndexError when the Entity Store cannot be read; never a partial answer."""
    url = f"{entity_store_url}/v1/models"
    adapters: dict[str, Adapter] = {}
    for page in range(1, MAX_PAGES + 1):
        query = {"filter[peft]": "true", "sort": "created_at", "page": str(page), "page_size": str(PAGE_SIZE)}
        try:
            answer = await client.get(url, params=query)
            answer.raise_for_status()
            # A thousand entities take tens of milliseconds, in which no token would be sent.
            count, found = await asyncio.to_thread(_read_page, answer, base_model)
        except httpx.HTTPStatusError as error:
            raise AdapterIndexError(f"GET {url} answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise AdapterIndexError(f"GET {url} failed: {error or type(error).__name__}") from error
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise AdapterIndexError(f"GET {url} did not answer with a list of models") from error
        adapters.update(found)
        if count < PAGE_SIZE:
            return adapters
    raise AdapterIndexError(f"GET {url}: more than {MAX_PAGES * PAGE_SIZE} models with adapters")


def read_folder(folder: Path) -> dict[str, Adapter]:
    """Id -> adapter of the folders in `folder`, each with the id for a name, as NIM reads NIM_PEFT_SOURCE.

    Hidden ones are being filled. AdapterIndexError when the folder cannot be read.
    """
    adapters: dict[str, Adapter] = {}
    if not folder.is_dir():  # nobody has put anything there yet
        return adapters
    try:
        with os.scandir(folder) as places:  # every two seconds, perhaps a thousand of them
            names = sorted(place.name for place in places if not place.name.startswith(".") and place.is_dir())
        for name in names:
            place = folder / name
            with os.scandir(place) as files:
                states = {file.name: file.stat() for file in files if file.is_file()}
            sizes = (f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in sorted(states.items()))
            adapters[name] = Adapter(name, str(place), " ".join(sizes))
    except OSError as error:
        raise AdapterIndexError(f"reading {error.filename or folder} failed: {error.strerror}") from error
    return adapters


def _read_page(answer: httpx.Response, base_model: str) -> tuple[int, dict[str, Adapter]]:
    """Return how many entities a page has, and the adapters among them."""
    rows = answer.json()["data"]
    assert isinstance(rows, list)
    return len(rows), _adapters(rows, base_model)


def _adapters(rows: list[Any], base_model: str) -> dict[str, Adapter]:
    adapters = {}
    for row in rows:
        try:
            adapter = _Entity.model_validate(row).adapter(base_model)
        except ValidationError:
            continue  # some other kind of model entity; never a reason to lose the rest
        if adapter is not None:
            adapters[adapter.id] = adapter
    return adapters
