"""Datasets of the Hugging Face Hub, or of any server that speaks its API (HF_ENDPOINT): their files of rows, on disk.

The Hub's own conversion to parquet is taken where there is one, since it covers every format; else the files of the
repository that are read here. Files go through the Hub's cache, by commit. Refuses a dataset with several
configurations unless one is named, and everything that would run code of a dataset.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemostack.clients.error_mapping import calling
from nemostack.errors import BadInput, NotFound
from workflows.data.formats import SUFFIXES

PREFIX = "hf://datasets/"
_ADDRESS = re.compile(r"hf://datasets/(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_CONVERTED = "refs/convert/parquet"
_SERVICE = "Hugging Face Hub"


@dataclass(frozen=True)
class Wanted:
    """What of a dataset is wanted: one configuration, one split; None: the only one, all."""

    config: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Files on disk, and the commit that they are of."""

    files: list[Path]
    revision: str


def fetch(address: str, wanted: Wanted) -> Fetched:
    """Download the files of rows. BadInput for an address that is none, and for a choice that is to be made."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise BadInput(f"{address}: expected hf://datasets/org/name, or hf://datasets/org/name@revision")
    from huggingface_hub import HfApi, constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    api = HfApi(endpoint=endpoint)
    repo, revision = match["repo"], match["revision"]
    if revision is None:
        try:
            return _fetch(api, endpoint, repo, _CONVERTED, wanted)
        except NotFound:
            pass  # a private or new dataset, or another server: its own files then
    return _fetch(api, endpoint, repo, revision or "main", wanted)


def _fetch(api: Any, endpoint: str, repo: str, revision: str, wanted: Wanted) -> Fetched:
    with calling(_SERVICE, endpoint, f"looking up dataset {repo} at {revision}"):
        info = api.dataset_info(repo, revision=revision)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    chosen = choose_files(repo, names, wanted, by_configuration=revision == _CONVERTED)
    files = []
    for name in chosen:
        with calling(_SERVICE, endpoint, f"downloading {name} of dataset {repo}"):
            files.append(Path(api.hf_hub_download(repo, name, repo_type="dataset", revision=info.sha)))
    return Fetched(files, str(info.sha))


def choose_files(repo: str, names: list[str], wanted: Wanted, *, by_configuration: bool) -> list[str]:
    """Choose the files of rows among those of a repository. BadInput when that is not clear, or there are none."""
    readable = sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
    readable = [name for name in readable if Path(name).name not in {"dataset_infos.json", "dataset_info.json"}]
    if by_configuration:
        configurations = sorted({name.split("/")[0] for name in readable})
        if wanted.config is None and len(configurations) > 1:
            raise BadInput(
                f"dataset {repo} has several configurations: choose one with --config-name: {configurations}"
            )
        config = wanted.config or (configurations[0] if configurations else "")
        readable = [name for name in readable if name.split("/")[0] == config]
    elif wanted.config is not None:
        readable = [name for name in readable if wanted.config in name.split("/")]
    if wanted.split is not None:
        readable = [name for name in readable if re.search(rf"(^|[/_-]){re.escape(wanted.split)}([/_.-]|$)", name)]
    if not readable:
        asked = f" of {wanted}" if wanted != Wanted() else ""
        raise BadInput(
            f"dataset {repo} has no file{asked} that is read here ({', '.join(SUFFIXES)}); it has: {names[:20]}"
        )
    return readable
