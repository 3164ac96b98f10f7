"""Names that files, repositories and branches may have.

Paths in a repository never become paths on our disk, but they do on that of whoever downloads: those that would leave
the folder, or that a common file system cannot hold, are refused.
"""

import re
from typing import Literal, NamedTuple, get_args

from embedded.common.names import DEFAULT_NAMESPACE, is_name
from embedded.data_store.hub_errors import Invalid

RepoType = Literal["models", "datasets"]
REPO_TYPES: tuple[RepoType, ...] = get_args(RepoType)
MAX_PATH, MAX_SEGMENT = 1024, 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_SHA = re.compile(r"[0-9a-f]{40}")
_RESERVED = {"api", "datasets", "models", "spaces"}  # first segments of other routes


class RepoId(NamedTuple):
    """Which repository: `models` or `datasets`, namespace, name."""

    type: RepoType
    namespace: str
    name: str

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def url_path(self) -> str:
        """As the hub writes it in addresses: models have no prefix."""
        return self.full_name if self.type == "models" else f"{self.type}/{self.full_name}"

    def __str__(self) -> str:
        return f"{self.type.removesuffix('s')} repository {self.full_name}"


def namespace_name(text: object) -> str:
    """Return the name of a namespace, or refuse it."""
    if not isinstance(text, str) or not is_name(text) or text in _RESERVED:
        raise Invalid(f"namespace {text!r}: expected letters, digits and . _ @ + -, and none of {sorted(_RESERVED)}")
    return text


def repo_id(kind: object, namespace: object, name: object) -> RepoId:
    """Return a new repository's id, or refuse it. `kind` is `model` or `dataset`."""
    if kind not in {"model", "dataset"}:
        raise Invalid(f"repository type {kind!r}: there are model and dataset")
    if not isinstance(name, str) or not is_name(name) or name.endswith(".git"):
        raise Invalid(f"repository name {name!r}: expected letters, digits and . _ @ + -, not ending in .git")
    return RepoId("models" if kind == "model" else "datasets", namespace_name(namespace or DEFAULT_NAMESPACE), name)


def ref_name(text: str) -> str:
    """Return the name of a branch or tag, or refuse it."""
    if not is_name(text) or _SHA.fullmatch(text) or text == "HEAD":
        raise Invalid(f"branch or tag {text!r}: expected letters, digits and . _ @ + -, no slash, no commit id")
    return text


def file_path(text: object) -> str:
    """Return the path of a file in a repository, or refuse it."""
    if not isinstance(text, str) or not text:
        raise Invalid(f"path {text!r}: expected a relative path")
    segments = text.split("/")
    try:
        too_long = len(text.encode()) > MAX_PATH or any(len(s.encode()) > MAX_SEGMENT for s in segments)
    except UnicodeEncodeError:
        raise Invalid(f"path {text!r}: it is no valid Unicode") from None
    if too_long:
        raise Invalid(f"path {text[:80]!r}...: at most {MAX_PATH} bytes, and {MAX_SEGMENT} between slashes")
    if any(segment in {"", ".", "..", ".git"} for segment in segments):
        raise Invalid(f"path {text!r}: no '..', '.', '.git' and no empty name between slashes")
    if _CONTROL.search(text):
        raise Invalid(f"path {text!r}: no backslash and no control character")
    return text
