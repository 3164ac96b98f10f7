"""Hooks of the documentation site: Markdown that is written for a forge becomes pages that work alone.

- The navigation is that of docs/README.md: one section per heading, one entry per table row.
- A file outside docs/ that a page links to becomes a page of the site; a folder becomes a list of its pages.
  A link to a file that does not exist fails the build.
- Diagrams are drawn while the site is built, so that no page loads a script from elsewhere.
- Anchors and lists follow the rules of a forge instead of Python-Markdown's.
"""

import posixpath
import re
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from nemostack.clone import ROOT

DOCS = "docs"
OUTSIDE = "repository"
"""Folder of the site with the pages made from files outside docs/."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_FENCE = re.compile(r"^ *(```|~~~)")
_ITEM = re.compile(r"^( *)(?:[-*+]|\d+\.) +(?=\S)")
_SECTION = re.compile(r"^## (.+)$")
_ROW = re.compile(r"^\| \[[^]]+\]\(([^)]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set what YAML cannot say, and take the navigation from docs/README.md."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    config.mdx_configs["pymdownx.superfences"] = {
        "custom_fences": [{"name": "mermaid", "class": "diagram", "format": draw_diagram}]
    }
    config.nav = read_navigation((ROOT / DOCS / "README.md").read_text(encoding="utf-8"))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every folder, and every file outside docs/, that a page links to: also through such a page."""
    queue = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(queue)
    for source in queue:
        if not source.endswith(".md"):
            continue
        for target in read_links(source):
            if target not in seen:
                seen.add(target)
                queue.append(target)
                if files.get_file_from_path(site_uri(target)) is None:
                    files.append(File.generated(config, site_uri(target), content=read_page(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point the links of a page at pages of the site, and separate lists as Python-Markdown wants it."""
    source = source_of(page.file.src_uri)
    return separate_lists(rewrite_links(markdown, source, page.file.src_uri))


def read_navigation(index: str) -> list[Any]:
    """Read the navigation from the tables of docs/README.md; a row whose link is a folder becomes a section."""
    navigation: list[Any] = ["README.md"]
    entries: list[Any] = []
    for line in index.splitlines():
        if heading := _SECTION.match(line):
            entries = []
            navigation.append({heading[1]: entries})
        elif row := _ROW.match(line):
            target = posixpath.normpath(posixpath.join(DOCS, row[1]))
            folder = ROOT / target
            if folder.is_dir() and not (folder / "README.md").exists():
                pages = sorted(posixpath.relpath(page, ROOT / DOCS) for page in folder.glob("*.md"))
                entries.append({folder.name: [site_uri(target), *pages]})
            else:
                entries.append(site_uri(target))
    return [entry for entry in navigation if not isinstance(entry, dict) or any(entry.values())]


def read_links(source: str) -> list[str]:
    """List the files and folders of the repository that the Markdown file `source` links to, as paths from its root."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return [resolve_link(source, link) for line in lines_outside_code(text) for link in _LINK.findall(line)]


def resolve_link(source: str, link: str) -> str:
    """Resolve a relative link of `source`. Raises PluginError when nothing is there or it leaves the repository."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if target.startswith("..") or not (ROOT / target).exists():
        raise PluginError(f"{source} links to {link}, which does not exist: correct the link")
    if (ROOT / target / "README.md").exists():
        return f"{target}/README.md"
    return target


def site_uri(target: str) -> str:
    """Name the source of the page that shows `target`, a path from the root of the repository."""
    uri = posixpath.relpath(target, DOCS) if target.startswith(f"{DOCS}/") else f"{OUTSIDE}/{target}"
    if (ROOT / target).is_dir():
        uri += "/README.md" if (ROOT / target / "README.md").exists() else "/index.md"
    elif not target.startswith(f"{DOCS}/") and not target.endswith((".md", ".png", ".svg")):
        uri += ".md"
    return uri


def source_of(uri: str) -> str:
    """Name the file or folder of the repository that the page `uri` shows: the inverse of `site_uri`."""
    path = uri.removeprefix(f"{OUTSIDE}/") if uri.startswith(f"{OUTSIDE}/") else f"{DOCS}/{uri}"
    if (ROOT / path).exists():
        return path
    return posixpath.dirname(path) if path.endswith("/index.md") else path.removesuffix(".md")


def read_page(target: str) -> str | bytes:
    """Read the content of a page made from a file outside docs/, or list the pages of a folder."""
    path = ROOT / target
    if path.is_dir():
        names = sorted(child.name for child in path.glob("*.md"))
        return f"# {path.name}\n\n" + "".join(f"- [{title_of(path / name)}]({name})\n" for name in names)
    if path.suffix in (".png", ".svg"):
        return path.read_bytes()
    text = path.read_text(encoding="utf-8")
    return text if path.suffix == ".md" else f"# {target}\n\n````{path.suffix.removeprefix('.')}\n{text}\n````\n"


def title_of(path: Path) -> str:
    """Read the first heading of a Markdown file."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def rewrite_links(markdown: str, source: str, uri: str) -> str:
    """Replace each relative link of `source`, shown as page `uri`, by one between pages of the site."""
    if not (ROOT / source).is_file() or not source.endswith(".md"):
        return markdown

    def relative(match: re.Match[str]) -> str:
        return posixpath.relpath(site_uri(resolve_link(source, match[1])), posixpath.dirname(uri) or ".")

    code = False
    lines = []
    for line in markdown.splitlines():
        code ^= bool(_FENCE.match(line))
        lines.append(line if code else _LINK.sub(relative, line))
    return "\n".join(lines) + "\n"


def lines_outside_code(text: str) -> list[str]:
    """List the lines of `text` that are not in a fenced block."""
    code = False
    lines = []
    for line in text.splitlines():
        code ^= bool(_FENCE.match(line))
        if not code:
            lines.append(line)
    return lines


def separate_lists(markdown: str) -> str:
    """Put an empty line before a list that follows text, as a forge does without one."""
    code = False
    lines: list[str] = []
    inside = False
    for line in markdown.splitlines():
        code ^= bool(_FENCE.match(line))
        item = None if code else _ITEM.match(line)
        if item and not inside and lines and lines[-1].strip():
            lines.append("")
        if not code:
            inside = bool(item) or (inside and (line.startswith("  ") or not line.strip()))
        lines.append(line)
    return "\n".join(lines) + "\n"


def draw_diagram(source: str, language: str, class_name: str, *_: object, **__: object) -> str:
    """Draw a Mermaid diagram as SVG that stands in the page. Raises PluginError with Mermaid's reason."""
    import mermaidx

    name = f"diagram-{sha256(source.encode()).hexdigest()[:12]}"  # styles of an SVG in a page hold by its id
    try:
        svg = mermaidx.render(source, theme="neutral").svg()
    except Exception as error:
        raise PluginError(f"a {language} diagram cannot be drawn: {error}\n{source}") from error
    svg = svg.replace("my-svg", name)
    return f'<figure class="{escape(class_name)}" style="background: white; margin: 1em 0">{svg}</figure>'
