"""Repositories, files and commits in the hub's JSON."""

from typing import Any

from embedded.data_store import disk
from embedded.data_store.hub_errors import EntryNotFound
from embedded.data_store.repository import Commit, File, Repository, Tree, folders_of, lfs_pointer

JsonObject = dict[str, Any]


def _lfs(file: File, key: str = "oid") -> JsonObject:
    pointer_size = len(lfs_pointer(file.sha256, file.size))
    return {"lfs": {key: file.sha256, "size": file.size, "pointerSize": pointer_size}} if file.is_lfs else {}


def repository(repo: Repository, commit: Commit, *, blobs: bool = False, files: bool = True) -> JsonObject:
    """`ModelInfo` or `DatasetInfo`; `blobs` adds sizes and ids of the files."""
    siblings: list[JsonObject] = []
    for path, file in sorted(repo.tree(commit).items()) if files else ():
        sibling: JsonObject = {"rfilename": path}
        if blobs:
            sibling |= {"size": file.size, "blobId": file.git_id, **_lfs(file, key="sha256")}
        siblings.append(sibling)
    shown: JsonObject = {
        "id": repo.id.full_name,
        "author": repo.id.namespace,
        "sha": commit.id,
        "private": repo.about["private"],
        "gated": False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "createdAt": repo.about["created_at"],
        "lastModified": commit.date,
    }
    return shown | ({"siblings": siblings} if files else {})


def _folder(path: str, inside: list[tuple[str, File]]) -> JsonObject:
    names = [[name, file.git_id] for name, file in sorted(inside)]
    return {"type": "directory", "path": path, "oid": disk.git_id("tree", disk.canonical(names)), "size": 0}


def entry(tree: Tree, path: str) -> JsonObject | None:
    """Describe the file or folder at `path`, if there is one."""
    if file := tree.get(path):
        return {"type": "file", "path": path, "size": file.size, "oid": file.git_id, **_lfs(file)}
    inside = [(name, file) for name, file in tree.items() if name.startswith(f"{path}/")]
    return _folder(path, inside) if inside else None


def listing(repo: Repository, commit: Commit, folder: str, *, recursive: bool) -> list[JsonObject]:
    """List what is in `folder` ('' for the root), folders too. EntryNotFound when there is no such folder."""
    tree = repo.tree(commit)
    prefix = f"{folder}/" if folder else ""
    inside = {path: file for path, file in tree.items() if path.startswith(prefix)}
    if folder and not inside:
        raise EntryNotFound(f"{repo.id} has no folder {folder!r}", {"X-Repo-Commit": commit.id})
    contents: dict[str, list[tuple[str, File]]] = {}
    for path, file in inside.items():
        for parent in folders_of([path]):
            if parent.startswith(prefix):
                contents.setdefault(parent, []).append((path, file))
    entries = [_folder(path, files) for path, files in contents.items()]
    entries += [shown for path in inside if (shown := entry(tree, path))]
    if not recursive:
        entries = [shown for shown in entries if "/" not in shown["path"].removeprefix(prefix)]
    return sorted(entries, key=lambda shown: str(shown["path"]))


def add_last_commits(repo: Repository, commit: Commit, entries: list[JsonObject]) -> None:
    """Give each entry `lastCommit`: the latest commit in which it (or, for a folder, something in it) changed."""
    open_entries = {str(shown["path"]): shown for shown in entries}
    for current in repo.history(commit):
        tree = repo.tree(current)
        before = repo.tree(repo.commit(current.parent)) if current.parent else {}
        changed = {path for path in tree.keys() | before.keys() if tree.get(path) != before.get(path)}
        for path in (changed | folders_of(changed)) & open_entries.keys():
            open_entries.pop(path)["lastCommit"] = {"id": current.id, "title": current.title, "date": current.date}
        if not open_entries:
            return


def history(repo: Repository, commit: Commit) -> list[JsonObject]:
    """List the commits up to this one, latest first."""
    return [
        {"id": c.id, "title": c.title, "message": c.message, "date": c.date, "authors": [{"user": repo.id.namespace}]}
        for c in repo.history(commit)
    ]


def refs(repo: Repository) -> JsonObject:
    """List branches and tags."""
    shown: JsonObject = {"converts": [], "pullRequests": []}
    for key, kind in (("branches", "heads"), ("tags", "tags")):
        shown[key] = [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": target}
            for name, target in repo.refs(kind).items()
        ]
    return shown
