"""A name with an underscore belongs to its module: no other module reads, imports or replaces it, tests included."""

import ast
from collections.abc import Iterator
from pathlib import Path

from nemostack.clone import ROOT
from tests.unit.repository.tracked import tracked

OWN = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported_modules(tree: ast.Module, root: Path) -> Iterator[tuple[str, str]]:
    """Modules of ours under the names that they have in a file: name in the file, full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OWN:
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                path = root / full_name.replace(".", "/")
                if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
                    yield alias.asname or alias.name, full_name


def intrusions(source: str, root: Path = ROOT) -> Iterator[str]:
    """Each private name of another module that a file touches."""
    tree = ast.parse(source)
    modules = dict(imported_modules(tree, root))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OWN:
            for alias in node.names:
                if any(map(is_private, [*node.module.split("."), alias.name])):
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            if is_private(node.attr):
                yield f"{modules[node.value.id]}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            yield from replaced(node, modules)


def replaced(call: ast.Call, modules: dict[str, str]) -> Iterator[str]:
    """What `monkeypatch.setattr(module, "_name", ...)` or `setattr("package.module._name", ...)` replaces."""
    match call.args[:2]:
        case [ast.Name(id=module), ast.Constant(value=str(name))] if module in modules and is_private(name):
            yield f"{modules[module]}.{name}"
        case [ast.Constant(value=str(path)), *_] if path.split(".")[0] in OWN and any(map(is_private, path.split("."))):
            yield path


def test_private_names_stay_in_their_module() -> None:
    files = [name for name in tracked() if name.endswith(".py")]
    assert len(files) > 400
    found = {name: sorted(intrusions((ROOT / name).read_text(encoding="utf-8"))) for name in files}
    assert {name: what for name, what in found.items() if what} == {}


def test_each_way_to_a_private_name_is_seen() -> None:
    source = """
from nemostack.redact import _SECRETS
from nemostack import redact as hider
from nemostack import clone
hider._SECRETS.clear()
monkeypatch.setattr(clone, "_root", 1)
monkeypatch.setattr("nemostack.clone._root", 1)
clone.ROOT, self._own, clone.__doc__
"""
    assert sorted(intrusions(source)) == [
        "nemostack.clone._root",
        "nemostack.clone._root",
        "nemostack.redact._SECRETS",
        "nemostack.redact._SECRETS",
    ]
