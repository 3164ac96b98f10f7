"""Addresses of files in the Data Store: `hf://datasets/ns/name[/path]`, `hf://models/ns/name[@revision]`.

Also accepts the older `nds:` scheme and model addresses without `models/`. Refuses paths that leave the repository.
"""

import fnmatch
import glob
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from embedded.common.names import Ref

# Versions of huggingface_hub use different HTTP libraries (httpx, lately httpx2), so `except httpx.HTTPError` may miss
# a refused connection. These are the bases of the hub's own error: that library's HTTPError, and OSError.
HUB_ERRORS: tuple[type[Exception], ...] = tuple(
    base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)
)

_URL = re.compile(
    r"(?:hf|nds):(?://)?(?:(datasets|models)/)?(?!(?:datasets|models)/)([^/]+)/([^/@]+)(?:@([^/]+))?(?:/(.*))?"
)


class FilesUrlError(ValueError):
    """The address is malformed, or nothing can be had there; the text says which and what to do."""


@dataclass(frozen=True)
class FilesUrl:
    """A repository of the Data Store, and a path within it ('' = all of it)."""

    repo_type: str
    repo: Ref
    revision: str
    path: str

    @classmethod
    def parse(cls, text: str, default_type: str = "dataset") -> "FilesUrl":
        """FilesUrlError when `text` is not such an address."""
        match = _URL.fullmatch(text)
        if match is None:
            raise FilesUrlError(f"files_url {text!r}: expected hf://datasets/NAMESPACE/NAME[/PATH] or hf://models/...")
        kind, namespace, name, revision, path = match.groups()
        path = (path or "").strip("/")
        if ".." in PurePosixPath(path).parts:
            raise FilesUrlError(f"files_url {text!r}: '..' is not allowed in the path")
        try:
            repo = Ref.parse(f"{namespace}/{name}")
        except ValueError as error:
            raise FilesUrlError(f"files_url {text!r}: {error}") from error
        return cls(kind.removesuffix("s") if kind else default_type, repo, revision or "main", path)

    def download(
        self, data_store_url: str, to: Path, *, only: Collection[str] | None = None, max_bytes: int | None = None
    ) -> Path:
        """Fetch into folder `to`; returns the folder of the repository's tree, or the one file addressed.

        With `only`, names with wildcards, no other files are fetched, and none from folders below. More bytes than
        `max_bytes` are refused before the first is fetched.
        Files of the same names in `to` are replaced, others stay: give each download a folder of its own.
        Raises FilesUrlError when the repository or the path does not exist or the Data Store does not answer.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        api = HfApi(endpoint=f"{data_store_url}/v1/hf", token=False)
        try:
            # Asked first, because snapshot_download takes an existing folder for the answer when it gets none.
            info = api.repo_info(str(self.repo), repo_type=self.repo_type, revision=self.revision, files_metadata=True)
            chosen = self._choose(getattr(info, "siblings", None) or (), only)
            size = sum(file.size or 0 for file in chosen)
            if max_bytes is not None and size > max_bytes:
                raise FilesUrlError(f"{self} holds {size:,} bytes: at most {max_bytes:,} are fetched")
            api.snapshot_download(
                str(self.repo),
                repo_type=self.repo_type,
                revision=info.sha,
                local_dir=to,
                allow_patterns=self._patterns(chosen, only),
            )
        except RepositoryNotFoundError as error:
            raise FilesUrlError(
                f"{self.repo_type} repository {self.repo} is not in the Data Store: upload the files first"
            ) from error
        except RevisionNotFoundError as error:
            raise FilesUrlError(
                f"{self.repo_type} repository {self.repo} has no revision {self.revision!r}: has its upload ended?"
            ) from error
        except HUB_ERRORS as error:
            reason = " ".join(str(error).split())
            raise FilesUrlError(f"Data Store at {data_store_url}: fetching {self} failed: {reason}") from error
        for file in chosen:
            if not (to / file.rfilename).is_file() or (to / file.rfilename).stat().st_size != file.size:
                raise FilesUrlError(
                    f"Data Store at {data_store_url}: {self} came without {file.rfilename!r}: try again"
                )
        location = to / self.path
        if self.path and not chosen:
            raise FilesUrlError(f"{self.repo_type} repository {self.repo} holds no {self.path!r}")
        return location

    def _choose(self, files: Iterable[Any], only: Collection[str] | None) -> list[Any]:
        below = f"{self.path}/" if self.path else ""
        here = [file for file in files if not below or f"{file.rfilename}/".startswith(below)]
        if only is None:
            return here
        names = {file.rfilename: file.rfilename.removeprefix(below) for file in here}
        return [
            file
            for file in here
            if "/" not in names[file.rfilename] and any(fnmatch.fnmatchcase(names[file.rfilename], n) for n in only)
        ]

    def _patterns(self, chosen: list[Any], only: Collection[str] | None) -> list[str] | None:
        """Make what snapshot_download chooses by: patterns, where `[` and `*` in a name would mean something else."""
        if only is not None:
            return [glob.escape(file.rfilename) for file in chosen]
        return [glob.escape(self.path), f"{glob.escape(self.path)}/*"] if self.path else None

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf://{self.repo_type}s/{self.repo}{revision}" + (f"/{self.path}" if self.path else "")
