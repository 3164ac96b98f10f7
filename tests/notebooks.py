"""The notebooks: made of their sources, executed on a running stack, and rendered for docs/.

A source (`notebooks/source/*.py`, cells between `# %%`) holds the code once, and each text cell in English with its
Korean after it: `# %% [markdown] korean="DIGEST"`, by the digest of the English that it translates. When the English
changes and the Korean does not, reading the source fails.

    python -m tests.notebooks --write                  # notebooks/*.ipynb and notebooks/ko/*.ipynb
    python -m tests.notebooks --stack local            # executes them, one after the other, in a folder of their own
    python -m tests.notebooks --stack local --render   # and renders what came out into docs/notebooks/
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import MarkdownExporter
from traitlets.config import Config

from nemostack.clone import ROOT

FOLDER = ROOT / "notebooks"
RENDERED = ROOT / "docs" / "notebooks"
LANGUAGES = {"en": FOLDER, "ko": FOLDER / "ko"}
_TRANSLATES = "korean"
_NOTES = {
    "en": "Executed on {stack}. The notebook to run yourself: [{name}.ipynb](../../notebooks/{name}.ipynb). "
    "[한국어]({name}.ko.md)",
    "ko": "실행한 곳: {stack}. 직접 실행할 노트북: [{name}.ipynb](../../notebooks/ko/{name}.ipynb). "
    "[English]({name}.md)",
}


def sources() -> list[Path]:
    """List the sources in the order of the lessons."""
    return sorted((FOLDER / "source").glob("*.py"))


def digest(text: str) -> str:
    """Name an English text in its translation."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read(source: Path, language: str) -> Any:
    """Read a source as a notebook in one language. ValueError where a text has no translation, or that of another."""
    notebook = jupytext.read(source, fmt="py:percent")
    cells: list[Any] = []
    english: Any = None
    for cell in notebook.cells:
        stands_for = cell.metadata.pop(_TRANSLATES, None)
        if stands_for is None:
            _require_translated(source, english)
            english = cell if cell.cell_type == "markdown" else None
            cells.append(cell)
            continue
        if english is None or stands_for != digest(english.source):
            text = cell.source.partition("\n")[0]
            place = "there is no text before it" if english is None else f"it stands after {digest(english.source)!r}"
            raise ValueError(f"{source.name}: {text!r} translates {stands_for!r}, but {place}: translate it anew")
        if language == "ko":
            cells[-1] = cell
        english = None
    _require_translated(source, english)
    for number, cell in enumerate(cells, start=1):
        cell.id = f"cell-{number}"
    notebook.cells = cells
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def _require_translated(source: Path, english: Any) -> None:
    if english is not None:
        raise ValueError(f"{source.name}: {english.source.partition(chr(10))[0]!r} has no Korean text after it")


def as_file(source: Path, language: str) -> str:
    """Write a notebook as its .ipynb file has it, without outputs."""
    return str(jupytext.writes(read(source, language), fmt="ipynb")).rstrip("\n") + "\n"


def write() -> None:
    """Write the .ipynb files of all languages."""
    for language, folder in LANGUAGES.items():
        folder.mkdir(exist_ok=True)
        for source in sources():
            (folder / f"{source.stem}.ipynb").write_text(as_file(source, language), encoding="utf-8")


def execute(source: Path, folder: Path) -> Any:
    """Execute the English notebook in `folder`; it has its outputs then. CellExecutionError when a cell fails."""
    notebook = read(source, "en")
    where = {"metadata": {"path": str(folder)}}
    # sockets by their whole path: by default it would be one below the folder of the kernel, which is not ours
    no_port = Config(KernelManager={"transport": "ipc", "ip": str(folder / source.stem)})
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where, config=no_port)
    client.coalesce_streams = True  # what is printed in one go stays together
    client.execute()
    return notebook


def render(source: Path, executed: Any, stack: str) -> None:
    """Write an executed notebook as a page in each language, its pictures beside them."""
    name = source.stem
    for language in LANGUAGES:
        notebook = read(source, language)
        notebook.metadata["language_info"] = {"name": "python"}
        for cell, done in zip(notebook.cells, executed.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs = done.outputs
        text, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": name})
        ending = ".md" if language == "en" else f".{language}.md"
        heading, _, rest = text.strip().replace(".ipynb)", f"{ending})").partition("\n")
        note = _NOTES[language].format(stack=stack, name=name)
        lines = [line.rstrip() for line in f"{heading}\n\n{note}\n{rest}\n".split("\n")]
        (RENDERED / f"{name}{ending}").write_text("\n".join(lines), encoding="utf-8")
        for picture, content in resources["outputs"].items():
            (RENDERED / picture).write_bytes(content)


def run(outputs: str, *, rendered: bool) -> int:
    """Execute all notebooks in one folder, on the stack with these outputs; 1 when one fails."""
    facts = json.loads(outputs)
    stack = f"a stack of target {facts['target']} with {facts['base_model']}"
    with tempfile.TemporaryDirectory(prefix="nemostack-notebooks-") as name:
        folder = Path(name)
        file = folder / "outputs.json"
        file.touch(mode=0o600)
        file.write_text(outputs, encoding="utf-8")
        os.environ["NEMOSTACK_OUTPUTS"] = str(file)
        os.environ.pop("NEMOSTACK_RUNS", None)
        if rendered:
            RENDERED.mkdir(exist_ok=True)
            for old in RENDERED.iterdir():
                old.unlink()
        for source in sources():
            began = time.monotonic()
            try:
                executed = execute(source, folder)
            except CellExecutionError as error:
                print(f"{source.stem}: {error}", file=sys.stderr)
                return 1
            print(f"{source.stem}: {time.monotonic() - began:.0f} s", flush=True)
            if rendered:
                render(source, executed, stack)
    return 0


def main() -> int:
    """Write, or execute on a stack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if options.write:
        write()
        return 0
    command = [sys.executable, "-m", "cli", "outputs", "--stack", options.stack]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return run(done.stdout, rendered=options.render)


if __name__ == "__main__":
    sys.exit(main())
