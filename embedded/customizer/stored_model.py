"""Base models from the Data Store: what a target's `model_uri` names, fetched for one job and deleted with it.

Whoever reaches the Data Store may have uploaded it, so nothing in it is trusted: only the files named here are fetched.
Refuses pickled weights and Python code by leaving them behind, a repository without `config.json` or safetensors
weights, an index that names files elsewhere, and more than MAX_BYTES.
"""

import json
import shutil
from pathlib import Path

from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.customizer.spec import JobError, JobFolder, JobSpec
from embedded.customizer.stores import patiently

MAX_BYTES = 16 << 30
CONFIG, INDEX = "config.json", "model.safetensors.index.json"
FILES = (
    CONFIG,
    INDEX,
    "*.safetensors",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)
_ADVICE = (
    "Upload a transformers folder with config.json, a tokenizer and *.safetensors, or correct the target's model_uri."
)


def is_stored(weights: str) -> bool:
    """Whether `weights` is an address in the Data Store, and no folder or id from the settings."""
    return weights.startswith("hf://")


def fetch(spec: JobSpec, folder: JobFolder) -> Path:
    """Return the folder with the base model, downloaded unless an interrupted run left it. JobError if unusable."""
    if folder.base.exists():
        return folder.base
    partial = folder.partial_base
    shutil.rmtree(partial, ignore_errors=True)
    url = FilesUrl.parse(spec.weights)
    try:
        downloaded = patiently(lambda: url.download(spec.data_store_url, partial, only=FILES, max_bytes=MAX_BYTES))
    except FilesUrlError as error:
        raise JobError(f"base model {spec.weights}: {error}", _ADVICE) from error
    check(downloaded, spec.weights)
    downloaded.rename(folder.base)  # its existence says that it is complete
    shutil.rmtree(partial, ignore_errors=True)
    return folder.base


def check(downloaded: Path, address: str) -> None:
    """JobError unless the folder has a model that can be loaded without running any code of its own."""
    from safetensors import SafetensorError, safe_open

    names = {path.name for path in downloaded.iterdir()} if downloaded.is_dir() else set()
    if CONFIG not in names:
        raise JobError(f"base model {address}: it has no {CONFIG}", _ADVICE)
    if not any(name.endswith(".safetensors") for name in names):
        raise JobError(f"base model {address}: it has no *.safetensors, the only weights that are loaded", _ADVICE)
    for path in downloaded.glob("*.safetensors"):
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise JobError(f"base model {address}: {path.name} cannot be read: {error}", _ADVICE) from error
    if INDEX not in names:
        return
    try:
        parts = set(json.loads((downloaded / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobError(f"base model {address}: {INDEX} is no index of weights: {error!r}", _ADVICE) from error
    if missing := parts - names:
        raise JobError(f"base model {address}: {INDEX} names {min(map(str, missing))!r}, which it lacks", _ADVICE)
