"""The notebooks are what their sources say, in both languages; a Korean text that has fallen behind is refused."""

import json
import re
from pathlib import Path

import pytest

from nemostack.clone import ROOT
from tests import notebooks

NAMES = [
    "01-NIM-Evaluation",
    "02-Evaluator",
    "03-Customizer",
    "04-Free-Resources",
    "model_customization_practice",
]
HANGUL = re.compile("[가-힣]")
SMALL = '# %% [markdown]\n# # Title\n#\n# Text.\n\n# %% [markdown] korean="{digest}"\n# # 제목\n\n# %%\nprint(1)\n'


def small_source(folder: Path, text: str) -> Path:
    source = folder / "small.py"
    source.write_text(text, encoding="utf-8")
    return source


def test_the_lessons_of_the_guide_are_there():
    assert [source.stem for source in notebooks.sources()] == NAMES


@pytest.mark.parametrize("language", notebooks.LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_what_its_source_says(name, language):
    source = notebooks.FOLDER / "source" / f"{name}.py"
    file = notebooks.LANGUAGES[language] / f"{name}.ipynb"
    written = notebooks.as_file(source, language)
    assert file.read_text(encoding="utf-8") == written, "write them anew: python -m tests.notebooks --write"
    for cell in json.loads(written)["cells"]:
        if cell["cell_type"] == "markdown":
            assert bool(HANGUL.search("".join(cell["source"]))) == (language == "ko")


@pytest.mark.parametrize("language", notebooks.LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_the_rendered_copy_shows_the_same_cells(name, language):
    ending = ".md" if language == "en" else ".ko.md"
    page = (ROOT / "docs" / "notebooks" / f"{name}{ending}").read_text(encoding="utf-8")
    for cell in notebooks.read(notebooks.FOLDER / "source" / f"{name}.py", language).cells:
        text = cell.source.replace(".ipynb)", f"{ending})")
        heading, _, rest = text.partition("\n")
        assert heading in page, "render them anew: python -m tests.notebooks --stack NAME --render"
        assert rest.strip() in page


def test_a_source_in_two_languages(tmp_path):
    english = "# Title\n\nText."
    source = small_source(tmp_path, SMALL.format(digest=notebooks.digest(english)))
    assert [cell.source for cell in notebooks.read(source, "en").cells] == [english, "print(1)"]
    assert [cell.source for cell in notebooks.read(source, "ko").cells] == ["# 제목", "print(1)"]


@pytest.mark.parametrize("language", notebooks.LANGUAGES)
def test_a_changed_text_wants_its_translation_changed(tmp_path, language):
    text = SMALL.format(digest=notebooks.digest("# Title\n\nText."))
    source = small_source(tmp_path, text.replace("# Text.", "# Another text."))
    with pytest.raises(ValueError, match="translate it anew"):
        notebooks.read(source, language)


@pytest.mark.parametrize(
    "text",
    [
        "# %% [markdown]\n# Text.\n\n# %%\nprint(1)\n",
        "# %%\nprint(1)\n\n# %% [markdown]\n# Text.\n",
        '# %%\nprint(1)\n\n# %% [markdown] korean="12345678"\n# 글\n',
    ],
    ids=["without Korean", "without Korean at the end", "without English"],
)
def test_a_text_in_one_language_alone_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"no Korean text after it|no text before it"):
        notebooks.read(small_source(tmp_path, text), "en")
