"""Texts of an exact number of tokens, counted by the server's own tokenizer.

No tokenizer is loaded here. Before the run the server is asked how many prompt tokens it counts (`usage.prompt_tokens`,
which every OpenAI-style server tells), and two things are learned: words that it counts as one token each, and how many
tokens a prompt has besides its words (the begin-of-sequence token, the chat template). A text of N tokens is then that
many of these words in random order, so it is also new to the prefix cache.

Refuses a server that counts no tokens, one whose tokenizer knows too few of the words, and one whose counts do not add
up: a text that was made must have the length that was asked for.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from nemostack.errors import BadInput
from nemostack.sample_dataset import PROMPTS

CountTokens = Callable[[str], int]
"""The prompt tokens that the server counts for a text, with all that it adds to it."""
OPENING: Final = "Words:"
"""Every text begins with this, since many tokenizers cut the first word of a text in another way than the others."""
ENOUGH_WORDS: Final = 64
FEWEST_WORDS: Final = 8
_GROUP: Final = 16
_CHECKED: Final = (1, 33, 150)


class TokenTexts(BaseModel):
    """What was learned of a server's tokenizer; part of the manifest, so that all workers make their texts alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[str, ...]
    overhead: int

    def text(self, tokens: int, rng: random.Random, *, prefix: Sequence[str] = ()) -> tuple[str, int]:
        """Make a text that the server counts as `tokens` prompt tokens; at least one more than the overhead.

        Returns the text and the number of tokens that it has. `prefix`: words that it begins with.
        """
        count = max(1, tokens - self.overhead)
        words = [*prefix[:count], *rng.choices(self.words, k=max(0, count - len(prefix)))]
        return " ".join([OPENING, *words]), count + self.overhead

    def prefix(self, tokens: int, rng: random.Random) -> tuple[str, ...]:
        """Draw the words that several texts begin with."""
        return tuple(rng.choices(self.words, k=tokens))


def learn(count: CountTokens) -> TokenTexts:
    """Ask the server until enough words are known. Raises BadInput, and what `count` raises."""
    empty = count(OPENING)
    candidates = _common_words()
    words: list[str] = []
    for start in range(0, len(candidates), _GROUP):
        words += _single_tokens(candidates[start : start + _GROUP], count, empty)
        if len(words) >= ENOUGH_WORDS:
            break
    if len(words) < FEWEST_WORDS:
        raise BadInput(
            f"the server's tokenizer cuts all but {len(words)} of {len(candidates)} short words into several "
            "tokens: leave --input-tokens out and bring prompts with --prompts"
        )
    texts = TokenTexts(words=tuple(words), overhead=empty)
    for wanted in _CHECKED:
        text, tokens = texts.text(wanted + empty, random.Random(wanted))
        if (counted := count(text)) != tokens:
            raise BadInput(
                f"a text made to have {tokens} tokens has {counted} by the server's count: its tokenizer joins words; "
                "leave --input-tokens out and bring prompts with --prompts"
            )
    return texts


def _common_words() -> list[str]:
    """Return the short words of the sample dataset, the most frequent first."""
    words = Counter(re.findall(r"\b[a-z]{3,6}\b", PROMPTS.read_text(encoding="utf-8")))
    return [word for word, _ in words.most_common()]


def _single_tokens(words: Sequence[str], count: CountTokens, empty: int) -> list[str]:
    """Return those of `words` that are one token each, asking for halves where some are not."""
    if not words or count(" ".join([OPENING, *words])) - empty == len(words):
        return list(words)
    if len(words) == 1:
        return []
    middle = len(words) // 2
    return [*_single_tokens(words[:middle], count, empty), *_single_tokens(words[middle:], count, empty)]
