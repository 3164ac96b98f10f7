"""The documentation site against its sources, read by another Markdown parser (CommonMark with tables)."""

import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from mkdocs.exceptions import PluginError

from nemostack.clone import ROOT

ELEMENTS = {
    "list_item_open": "li",
    "bullet_list_open": "ul",
    "ordered_list_open": "ol",
    "table_open": "table",
    "tr_open": "tr",
    "td_open": "td",
    "fence": "pre",
    "code_block": "pre",
    "image": "img",
    "strong_open": "strong",
}
COUNTED = {*ELEMENTS.values(), "h1", "h2", "h3"}


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "_site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reader(HTMLParser):
    """Counts the elements of a page's article; collects what the page links to, loads and can be linked at."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self._article = self._figure = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.add(values.get("id") or "")
        if tag == "a":
            self.links.append(values.get("href") or "")
        elif source := values.get("src") or (values.get("href") if tag == "link" else None):
            self.loads.append(source)
        self._article |= tag == "article"
        self._figure |= tag == "figure"
        if self._article and not self._figure and tag in COUNTED:
            self.counts[tag] += 1
        if self._article and tag == "svg" and "flowchart" in (values.get("class") or ""):
            self.counts["diagram"] += 1

    def handle_endtag(self, tag: str) -> None:
        self._article &= tag != "article"
        self._figure &= tag != "figure"


def count_elements(markdown: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for block in MarkdownIt("commonmark").enable("table").parse(markdown):
        for token in (block, *(block.children or [])):
            if token.type == "fence" and token.info == "mermaid":
                counts["diagram"] += 1
            elif token.type == "heading_open":
                counts[token.tag] += 1
            elif token.type in ELEMENTS:
                counts[ELEMENTS[token.type]] += 1
    return counts


def sources() -> Iterator[tuple[Path, str]]:
    """Every Markdown file that must be a page, and the page."""
    outside = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "tests/base_model/README.md")
    pages = {path.relative_to(ROOT / "docs"): path for path in (ROOT / "docs").rglob("*.md")}
    pages |= {Path("repository", name): ROOT / name for name in outside}
    for uri, path in pages.items():
        page = uri.with_name("index.html") if uri.name == "README.md" else uri.with_suffix(".html")
        yield path, page.as_posix()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("site")
class TestBuiltSite:
    def test_pages_have_the_elements_of_their_sources(self, site):
        for source, page in sources():
            assert Reader(site / page).counts == count_elements(source.read_text(encoding="utf-8")), source

    def test_every_link_leads_to_a_page_and_its_anchor(self, site):
        readers = {page: Reader(page) for page in site.rglob("*.html")}
        broken = []
        for page, reader in readers.items():
            for link in reader.links:
                parts = urlsplit(link)
                if page.name == "404.html" or parts.scheme or not link:
                    continue
                target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                target = target / "index.html" if target.is_dir() else target
                if not target.exists() or (parts.fragment and parts.fragment not in readers[target].anchors):
                    broken.append(f"{page.relative_to(site)}: {link}")
        assert not broken

    def test_pages_load_nothing_from_elsewhere(self, site):
        loads = {source for page in site.rglob("*.html") for source in Reader(page).loads}
        assert not [source for source in loads if urlsplit(source).scheme not in ("", "data")]

    def test_search_finds_settings(self, site):
        index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
        assert "load_balancer_cidrs" in index

    def test_diagrams_have_ids_of_their_own(self, site):
        assert "my-svg" not in "".join(page.read_text(encoding="utf-8") for page in site.rglob("*.html"))


def test_navigation_is_the_index_of_the_documentation(hooks):
    navigation = hooks.read_navigation(
        "# Documentation\n[elsewhere](cli.md)\n\n## Use\n| page | content |\n|---|---|\n| [cli.md](cli.md) | x |\n"
        "| [decisions](adr/) | see [cli.md](cli.md) |\n| [model](../tests/base_model/README.md) | x |\n"
        "\n## Terms\ntext\n"
    )
    assert navigation[0] == "README.md"
    assert [list(section) for section in navigation[1:]] == [["Use"]]
    command_line, decisions, model = navigation[1]["Use"]
    assert command_line == "cli.md"
    assert decisions["adr"][:2] == ["adr/index.md", "adr/0001-two-environments.md"]
    assert model == "repository/tests/base_model/README.md"


@pytest.mark.parametrize(
    ("source", "uri", "link", "expected"),
    [
        ("docs/targets/gke.md", "targets/gke.md", "../cli.md", "../cli.md"),
        ("docs/targets/gke.md", "targets/gke.md", "../../README.md", "../repository/README.md"),
        ("docs/cli.md", "cli.md", "../Makefile", "repository/Makefile.md"),
        ("docs/cli.md", "cli.md", "adr/", "adr/index.md"),
        ("README.md", "repository/README.md", "docs/cli.md", "../cli.md"),
        ("README.md", "repository/README.md", "docs/images/report.png", "../images/report.png"),
        ("README.md", "repository/README.md", "SECURITY.md", "SECURITY.md"),
    ],
)
def test_links_work_on_the_site(hooks, source, uri, link, expected):
    rewritten = hooks.rewrite_links(f"[x]({link}) [y](https://a.b/c) [z](#d)\n```\n[x]({link})\n```\n", source, uri)
    assert rewritten == f"[x]({expected}) [y](https://a.b/c) [z](#d)\n```\n[x]({link})\n```\n"


@pytest.mark.parametrize("link", ["missing.md", "../../outside.md"])
def test_a_link_to_nothing_fails_the_build(hooks, link):
    with pytest.raises(PluginError, match=f"docs/cli.md links to {link}, which does not exist"):
        hooks.rewrite_links(f"[x]({link})", "docs/cli.md", "cli.md")


@pytest.mark.parametrize("target", ["README.md", "Makefile", "docs/cli.md", "docs/adr", "tests/base_model/README.md"])
def test_a_page_knows_its_source(hooks, target):
    assert hooks.source_of(hooks.site_uri(target)) == target


def test_a_list_needs_no_empty_line_before_it(hooks):
    assert hooks.separate_lists("text:\n- a\n  b\n- c\n\n1. d\n```\nx\n- e\n```\n") == (
        "text:\n\n- a\n  b\n- c\n\n1. d\n```\nx\n- e\n```\n"
    )


def test_a_wrong_diagram_fails_the_build(hooks):
    with pytest.raises(PluginError, match="a mermaid diagram cannot be drawn"):
        hooks.draw_diagram("flowchart LR\n  a -->", "mermaid", "diagram")
