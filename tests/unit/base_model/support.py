"""What the tests share: the dataset's generator as a module, and the detector of its wording in other text."""

import functools
import importlib.util
import re
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from nemostack.clone import ROOT
from tests.base_model.lexicon import FUNCTION_WORDS

LEGAL = ROOT / "nemostack" / "sample_dataset"

_SLOT = re.compile(r"\{\w+\}")
_NUMBER = re.compile(r"\d[\d,.]*")
_WORD = re.compile(r"#|[a-z]+")
Shingle = tuple[str, ...]


def load_generator() -> ModuleType:
    """Import nemostack/sample_dataset/generate.py, which is a script and in no package."""
    name = "nemostack_examples_legal_generate"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, LEGAL / "generate.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@functools.cache
def built() -> dict[str, list[Any]]:
    """Return the dataset as the generator builds it, once for all tests."""
    splits: dict[str, list[Any]] = load_generator().build()
    return splits


def masked_shingles(text: str, size: int) -> set[Shingle]:
    """Return runs of `size` words, every number read as the same word."""
    words = _WORD.findall(_NUMBER.sub("#", text.lower()))
    return set(zip(*(words[start:] for start in range(size)), strict=False))


EVERYDAY_WORDS = frozenset(FUNCTION_WORDS) | frozenset(
    ["#", "days", "years", "long", "much", "does", "do", "has", "have", "given", "open", "maximum", "term", "continues"]
)
"""Four of these in a row ("no later than 30 days", "how long is the") are common English and no legal wording."""


class WordingDetector:
    """Finds the wording of the legal templates, whatever values stand in them.

    A template is cut at its slots for names and amounts; what remains is literal. Slots for numbers are masked like the
    numbers of a text, so `within {days} days of notice` is found with any number of days.
    """

    def __init__(self, generator: ModuleType, size: int = 4) -> None:
        self.size = size
        self.templates = [
            template for clause in generator.CLAUSES for template in (*clause.texts, *clause.questions, clause.answer)
        ]
        self.templates.append(generator.ANSWER)
        self.shingles = {shingle for template in self.templates for shingle in self.of_template(template)}

    def of_template(self, template: str) -> set[Shingle]:
        """Return the shingles of a template's literal parts."""
        numbered = re.sub(r"\{(days|years|rate|ref)\}", " 1 ", template)
        found: set[Shingle] = set()
        for part in _SLOT.split(numbered):
            found |= masked_shingles(part, self.size)
        return {shingle for shingle in found if not EVERYDAY_WORDS.issuperset(shingle)}

    def find(self, text: str) -> set[Shingle]:
        """Return the shingles of the templates that a text contains."""
        return masked_shingles(text, self.size) & self.shingles


_CITATION = re.compile(r"\bpursuant\b|\b(?:section|sections|clause)\s+[\dIVX]", re.IGNORECASE)


def citations(text: str) -> list[str]:
    """Return citations of the legal kind (`Pursuant to Section 4.2`)."""
    return [match.group() for match in _CITATION.finditer(text)]


def words_of(texts: Iterable[str]) -> set[str]:
    """Return all lower-case words of some texts."""
    return {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
